"""Runs one TensorRT engine on torch's tensors: named inputs and outputs, one context for each profile, one stream."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Protocol

import torch
from torch import Tensor

from vila_core.errors import BackendError
from vila_core.export.runtimes import made


class Runner(Protocol):
    """Something that runs a graph."""

    def run(self, tensors: Mapping[str, Tensor], profile: int = 0) -> None:
        """Run the graph on its inputs; the outputs are written into their tensors, which have the right shapes."""
        ...


class EngineRunner:
    """A deserialized engine. Not thread-safe.

    API: TensorRT 10, IRuntime, ICudaEngine and IExecutionContext with named tensors.
    """

    def __init__(self, trt: Any, logger: Any, plan: bytes, device: torch.device) -> None:
        """Raise BackendError for a plan of another version or device."""
        self._trt = trt
        self._runtime = made(trt.Runtime, logger)  # must outlive the engine
        self._engine = self._runtime.deserialize_cuda_engine(plan)
        if self._engine is None:
            raise BackendError("TensorRT cannot read the engine; build it again on this device: `vila engine build`")
        self._stream = torch.cuda.Stream(device) if device.type == "cuda" else None
        self._inputs = frozenset(self._names(trt.TensorIOMode.INPUT))
        self._outputs = frozenset(self._names(trt.TensorIOMode.OUTPUT))
        self._contexts: dict[int, Any] = {}

    def run(self, tensors: Mapping[str, Tensor], profile: int = 0) -> None:
        """Run it behind what the current stream does; what the current stream does next comes behind it.

        tensors: contiguous, by name, all inputs and outputs. Raises BackendError if TensorRT refuses a shape.
        """
        if set(tensors) != self._inputs | self._outputs:
            raise BackendError(f"expected the tensors {sorted(self._inputs | self._outputs)}, got {sorted(tensors)}")
        with self._ordered() as stream:
            context = self._context(profile, stream)
            for name, tensor in tensors.items():
                self._bind(context, name, tensor)
            if not context.execute_async_v3(stream):
                raise BackendError("TensorRT could not run the engine; its messages are above")

    def _bind(self, context: Any, name: str, tensor: Tensor) -> None:
        if not tensor.is_contiguous():
            raise BackendError(f"{name}: expected a contiguous tensor, got strides {tensor.stride()}")
        shape = tuple(tensor.shape)
        is_new = name in self._inputs and tuple(context.get_tensor_shape(name)) != shape
        if is_new and not context.set_input_shape(name, shape):
            raise BackendError(f"{name}: the engine was not built for the shape {list(shape)}")
        if context.get_tensor_address(name) != tensor.data_ptr():
            context.set_tensor_address(name, tensor.data_ptr())

    def _context(self, profile: int, stream: int) -> Any:
        """The profile's context; each takes only the memory that its own profile needs."""
        if profile not in self._contexts:
            strategy = self._trt.ExecutionContextAllocationStrategy.ON_PROFILE_CHANGE
            context = self._engine.create_execution_context(strategy)
            if context is None or not context.set_optimization_profile_async(profile, stream):
                raise BackendError(f"TensorRT has no memory for profile {profile} of the engine, or no such profile")
            self._contexts[profile] = context
        return self._contexts[profile]

    def _names(self, mode: Any) -> Iterator[str]:
        for number in range(self._engine.num_io_tensors):
            name = self._engine.get_tensor_name(number)
            if self._engine.get_tensor_mode(name) == mode:
                yield name

    @contextmanager
    def _ordered(self) -> Iterator[int]:
        """The handle of the stream to run in: never the default one, in which TensorRT waits for the device."""
        if self._stream is None:
            yield 0
            return
        current = torch.cuda.current_stream(self._stream.device)
        self._stream.wait_stream(current)
        yield self._stream.cuda_stream
        current.wait_stream(self._stream)
