"""Decoder layers that stay in their files until they are worked on, one at a time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from vila_core.errors import CheckpointError
from vila_core.models.stored.weights import AnyTensor, read_tensor

_PART, _PREFIX = "llm", "layers."


class StoredLayers:
    """Where the tensors of a decoder's layers lie; the model's own layers are on "meta" until they are filled."""

    def __init__(self) -> None:
        self._tensors: dict[str, AnyTensor] = {}

    def take(self, part: str, name: str, stored: AnyTensor) -> bool:
        """Note a tensor of a checkpoint's part if it is a layer's; returns whether it is."""
        is_layers = part == _PART and name.startswith(_PREFIX)
        if is_layers:
            self._tensors[name] = stored
        return is_layers

    def fill(self, number: int, layer: nn.Module, device: torch.device, dtype: torch.dtype) -> None:
        """Read a layer's weights. Raises CheckpointError as place_tensor does."""
        for name in list(layer.state_dict()):
            place_tensor(layer, name, self._tensors[f"{_PREFIX}{number}.{name}"], device, dtype)


def place_tensor(module: nn.Module, name: str, stored: AnyTensor, device: torch.device, dtype: torch.dtype) -> None:
    """Read a tensor into the place of that name: a parameter in dtype, a quantized weight as it is.

    Raises CheckpointError for another shape or kind than the place's.
    """
    owner_name, _, leaf = name.rpartition(".")
    owner = module.get_submodule(owner_name)
    expected: Tensor = getattr(owner, leaf)
    if stored.shape != expected.shape:
        raise CheckpointError(
            f"{stored.file}: {stored.name}: expected shape {list(expected.shape)}, got {list(stored.shape)}, "
            "by the sizes in config.json"
        )
    is_weight = isinstance(expected, nn.Parameter)
    kept = dtype if is_weight else expected.dtype
    if stored.dtype.is_floating_point != kept.is_floating_point or not (is_weight or stored.dtype == kept):
        raise CheckpointError(f"{stored.file}: {stored.name}: expected {kept}, got {stored.dtype}")
    value = read_tensor(stored, device, kept)
    setattr(owner, leaf, nn.Parameter(value, requires_grad=False) if is_weight else value)


class WithoutInit(TorchFunctionMode):
    """Leaves new weights as they are: on "meta" there is nothing to fill, and trying costs a second and 75 MB."""

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Return the tensor of a function that would fill it; call any other."""
        kwargs = kwargs or {}
        if getattr(func, "__name__", "") in _FILLS:
            return args[0] if args else kwargs["tensor"]
        return func(*args, **kwargs)


_FILLS = {"kaiming_uniform_", "uniform_", "normal_", "fill_", "zero_"}
