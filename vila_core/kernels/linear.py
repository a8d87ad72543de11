"""Linear layers on the package's own CPU kernels: 4- or 8-bit weights and activations of 8 bits, or all in float32."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from vila_core.kernels.library import Kernels, LinearCall

_LANES = 16
_FLOAT_BITS = 32  # of a weight that is not quantized
KERNEL_TYPES = {torch.float32: 0, torch.bfloat16: 1}  # of inputs and outputs, and how the library numbers them


def fits(outputs: int, inputs: int, group: int) -> bool:
    """Tell if the kernels take such a layer: its sizes must be multiples of 16."""
    return not (outputs % _LANES or inputs % _LANES or group % _LANES or inputs % group)


class KernelLinear(nn.Module):
    """y = x W^T + bias with W = (values - zeros) * scales.

    values: uint8 [N, K], below 16 if bits is 4. scales: [N, K / group], kept in float16 if they are. zeros: likewise,
    whole numbers as the values are. Activations are rounded to 8 bits by token and group, so the result differs from
    the exact one by about half a percent of its norm.
    """

    packed: Tensor
    scale: Tensor | None
    zero: Tensor | None
    bias: Tensor | None

    def __init__(
        self, kernels: Kernels, values: Tensor, scales: Tensor, zeros: Tensor, *, bias: Tensor | None, bits: int
    ) -> None:
        super().__init__()
        self.out_features, self.in_features = values.shape
        groups = scales.shape[1]
        self.group = self.in_features // groups
        if not fits(self.out_features, self.in_features, self.group) or bits not in (4, 8):
            raise ValueError(f"the kernels do not take {bits} bits, {list(values.shape)} in groups of {self.group}")
        lowest, highest = float(zeros.min()), float(zeros.max())
        if lowest < 0 or highest >= 2**bits:
            raise ValueError(f"{bits} bits have zeros of 0 to {2**bits - 1}, not {lowest:g} to {highest:g}")
        self._kernels = kernels
        self.bits = bits
        self.register_buffer("packed", torch.empty(values.numel() * bits // 8, dtype=torch.uint8))
        source = values.contiguous()
        pack = kernels.pack_int4 if bits == 4 else kernels.pack_int8
        pack(source.data_ptr(), self.packed.data_ptr(), self.out_features, self.in_features)
        scales = torch.where(scales.isnan(), torch.nan, scales)  # the kernels round other kinds of NaN to numbers
        self.register_buffer("scale", _by_block(scales if scales.dtype == torch.float16 else scales.float()))
        self.register_buffer("zero", _by_block(zeros.to(torch.uint8)))
        self.register_buffer("bias", None if bias is None else bias.detach().float().contiguous())

    def forward(self, x: Tensor) -> Tensor:
        """[..., K] -> [..., N], float32 or bfloat16."""
        return linear_together(x, [self])[0]

    @property
    def rounds_inputs(self) -> bool:
        """Tell if its inputs are rounded to 8 bits."""
        return self.bits != _FLOAT_BITS

    @property
    def blocks(self) -> Tensor:
        """The weight as the kernels read it."""
        return self.packed

    def takes_with(self, other: KernelLinear) -> bool:
        """Tell if the two may read one input together."""
        return (self.in_features, self.group, self.bits) == (other.in_features, other.group, other.bits)

    def run(self, x: Tensor, layers: Sequence[KernelLinear]) -> list[Tensor]:
        """Multiply x [..., K], contiguous, by several layers that take it together, this being one: [..., N] each."""
        out = [torch.empty((*x.shape[:-1], layer.out_features), dtype=x.dtype) for layer in layers]
        calls = (LinearCall * len(layers))(*(layer.call(x, y) for layer, y in zip(layers, out, strict=True)))
        self._kernels.linear(calls, len(layers))
        return out

    def rows(self, numbers: Tensor) -> Tensor:
        """Dequantized rows [U, K] float32 of the weight; numbers: [U] int64."""
        blocks, lanes = numbers // _LANES, numbers % _LANES
        packed = self.packed.view(self.out_features // _LANES, -1, _LANES, 4)[blocks, :, lanes]  # [U, runs, 4]
        runs = torch.stack((packed & 15, packed >> 4), dim=2) if self.bits == 4 else packed
        values = runs.reshape(len(numbers), -1, self.group).float()
        assert self.scale is not None and self.zero is not None
        scale, zero = (table[blocks, :, lanes, None].float() for table in (self.scale, self.zero))
        return ((values - zero) * scale).flatten(1)

    def call(self, x: Tensor | None = None, y: Tensor | None = None) -> LinearCall:
        """Return what the library is given to multiply x into y, both contiguous; without them both are left open."""
        return LinearCall(
            None if x is None else x.data_ptr(),
            self.blocks.data_ptr(),
            None if self.scale is None else self.scale.data_ptr(),
            None if self.zero is None else self.zero.data_ptr(),
            None if self.bias is None else self.bias.data_ptr(),
            None if y is None else y.data_ptr(),
            0 if x is None else x.numel() // self.in_features,
            self.out_features,
            self.in_features,
            self.group,
            self.bits,
            0 if x is None else KERNEL_TYPES[x.dtype],
            self.scale is not None and self.scale.dtype == torch.float16,
        )


class FloatKernelLinear(KernelLinear):
    """y = x W^T + bias with weight [N, K] as it is, in float32."""

    weight: Tensor
    scale = zero = None

    def __init__(self, kernels: Kernels, weight: Tensor, bias: Tensor | None) -> None:
        nn.Module.__init__(self)
        self.out_features, self.in_features = weight.shape
        self.group, self.bits = self.in_features, _FLOAT_BITS
        if not fits(self.out_features, self.in_features, self.group):
            raise ValueError(f"the kernels do not take {list(weight.shape)}")
        self._kernels = kernels
        self.register_buffer("weight", _by_block(weight.detach().float()))
        self.register_buffer("bias", None if bias is None else bias.detach().float().contiguous())

    @property
    def blocks(self) -> Tensor:
        """As the kernels read it: [N / 16, K, 16] float32."""
        return self.weight

    def rows(self, numbers: Tensor) -> Tensor:
        """Rows [U, K] of the weight; numbers: [U] int64."""
        return self.weight[numbers // _LANES, :, numbers % _LANES]


def linear_together(x: Tensor, layers: Sequence[KernelLinear]) -> list[Tensor]:
    """Multiply x [..., K] by layers that take it together: [..., N] each; if it is rounded, then once."""
    width = layers[0].in_features
    if x.dtype not in KERNEL_TYPES or x.shape[-1] != width:
        raise ValueError(f"expected float32 or bfloat16 [..., {width}], got {x.dtype} {list(x.shape)}")
    return layers[0].run(x.contiguous(), layers)


def kernel_linears(*layers: nn.Module) -> tuple[KernelLinear, ...] | None:
    """Return the layers if all of them are kernels."""
    found = tuple(layer for layer in layers if isinstance(layer, KernelLinear))
    return found if len(found) == len(layers) else None


def are_together(layers: Sequence[KernelLinear]) -> bool:
    """Tell if the layers may read one input together."""
    return all(layers[0].takes_with(other) for other in layers[1:])


def _by_block(values: Tensor) -> Tensor:
    """[N, G] -> [N / 16, G, 16]: the sixteen outputs of a block side by side."""
    return values.unflatten(0, (-1, _LANES)).transpose(1, 2).contiguous()
