"""8-bit linears for TensorRT: weights per output channel, inputs per tensor, with scales that are fixed beforehand.

TensorRT multiplies bytes where it meets QuantizeLinear and DequantizeLinear around both factors, and takes one fixed
scale for all of an input, none per token. So the inputs' scales come from calibration; a checkpoint that was smoothed
(SmoothQuant) has them even enough.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from vila_core.errors import CheckpointError

INT8_LEVELS = 127
_LEAST_SCALE = 1e-8


class Int8GraphLinear(nn.Module):
    """A linear layer that becomes Q, DQ and a product in ONNX; elsewhere it computes what these do.

    weight_int8: [K, N] int8, as the product reads it. weight_scales: [N]. input_scale: [].
    """

    def __init__(self, weight_int8: Tensor, weight_scales: Tensor, bias: Tensor | None, input_scale: Tensor) -> None:
        super().__init__()
        self.weight_int8: Tensor
        self.weight_scales: Tensor
        self.input_scale: Tensor
        self.zero: Tensor
        self.register_buffer("weight_int8", weight_int8.T.contiguous())
        self.register_buffer("weight_scales", weight_scales)
        self.register_buffer("input_scale", input_scale)
        self.register_buffer("zero", torch.zeros((), dtype=torch.int8))
        self.bias = None if bias is None else nn.Parameter(bias.detach().clone(), requires_grad=False)

    @classmethod
    def of(cls, linear: nn.Module, largest_input: float, dtype: torch.dtype) -> Int8GraphLinear:
        """Make one of a plain linear, or of one that the checkpoint holds in 8 bits: then with its own scales."""
        weight, scales = _quantized_weight(linear)
        scale = torch.tensor(max(largest_input / INT8_LEVELS, _LEAST_SCALE))
        bias = getattr(linear, "bias", None)
        return cls(weight, scales.to(dtype), bias, scale.to(dtype))

    def forward(self, x: Tensor) -> Tensor:
        """[..., K] -> [..., N]."""
        if torch.onnx.is_in_onnx_export():
            out = self._symbolic_input(x) @ self._symbolic_weight(x.dtype)
        else:
            rounded = torch.round(x.float() / self.input_scale.float()).clamp(-INT8_LEVELS - 1, INT8_LEVELS)
            weight = self.weight_int8.to(x.dtype) * self.weight_scales
            out = (rounded * self.input_scale.float()).to(x.dtype) @ weight
        return out if self.bias is None else out + self.bias

    def _symbolic_input(self, x: Tensor) -> Tensor:
        factors = (x, self.input_scale, self.zero)
        rounded = torch.onnx.ops.symbolic("QuantizeLinear", factors, dtype=torch.int8, shape=x.shape)
        back = (rounded, self.input_scale, self.zero)
        return torch.onnx.ops.symbolic("DequantizeLinear", back, dtype=x.dtype, shape=x.shape)

    def _symbolic_weight(self, dtype: torch.dtype) -> Tensor:
        factors = (self.weight_int8, self.weight_scales)
        shape = self.weight_int8.shape
        return torch.onnx.ops.symbolic("DequantizeLinear", factors, {"axis": 1}, dtype=dtype, shape=shape)


def int8_copy(root: nn.Module, layers: str, run: Callable[[nn.Module], None]) -> nn.Module:
    """Return a copy of the module whose linears below `layers` are 8-bit ones; the biases and all else are shared.

    layers: name of a submodule. run: runs the module it is given on the calibration inputs. Raises CheckpointError if
    that did not reach a linear.
    """
    largest: dict[str, float] = {}
    with _watched(root.get_submodule(layers), largest):
        run(root)
    memo = {id(value): value for value in (*root.parameters(), *root.buffers())}
    made = copy.deepcopy(root, memo)
    below = made.get_submodule(layers)
    for name, linear in list(_linears(below)):
        if name not in largest:
            raise CheckpointError(f"calibration did not reach the linear {layers}.{name}; give more pictures")
        owner, _, leaf = name.rpartition(".")
        setattr(below.get_submodule(owner), leaf, Int8GraphLinear.of(linear, largest[name], _dtype(made)))
    return made


@contextmanager
def _watched(root: nn.Module, largest: dict[str, float]) -> Iterator[None]:
    """While open, keep the largest magnitude that each linear below the module reads, by name."""

    def note(name: str) -> Callable[[nn.Module, tuple[Tensor, ...]], None]:
        def hook(_module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            largest[name] = max(largest.get(name, 0.0), float(inputs[0].detach().float().abs().max()))

        return hook

    handles = [linear.register_forward_pre_hook(note(name)) for name, linear in _linears(root)]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _linears(root: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    for name, module in root.named_modules():
        if isinstance(module, nn.Linear) or _is_int8(module):
            yield name, module


def _is_int8(module: nn.Module) -> bool:
    return isinstance(getattr(module, "weight_int8", None), Tensor) and hasattr(module, "scales")


def _quantized_weight(linear: nn.Module) -> tuple[Tensor, Tensor]:
    """Weight [N, K] int8 and scales [N] float32: the checkpoint's, or by the largest magnitude of each row."""
    if _is_int8(linear):
        return linear.weight_int8, linear.scales.float()  # type: ignore[union-attr,return-value,operator]
    assert isinstance(linear, nn.Linear)
    weight = linear.weight.detach().float()
    scales = (weight.abs().amax(-1) / INT8_LEVELS).clamp(min=_LEAST_SCALE)
    return torch.round(weight / scales[:, None]).clamp_(-INT8_LEVELS, INT8_LEVELS).to(torch.int8), scales


def _dtype(module: nn.Module) -> torch.dtype:
    return next(value.dtype for value in module.parameters() if value.dtype.is_floating_point)
