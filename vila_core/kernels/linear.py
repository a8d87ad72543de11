"""Quantized linear layers on the package's own CPU kernels: 4- or 8-bit weights, activations rounded to 8 bits."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from vila_core.kernels.library import Kernels, LinearCall

_LANES = 16
KERNEL_TYPES = {torch.float32: 0, torch.bfloat16: 1}  # of inputs and outputs, and how the library numbers them


def fits(outputs: int, inputs: int, group: int) -> bool:
    """Tell if the kernels take such a layer: its sizes must be multiples of 16."""
    return not (outputs % _LANES or inputs % _LANES or group % _LANES or inputs % group)


class KernelLinear(nn.Module):
    """y = x W^T + bias with W = (values - zeros) * scales.

    values: uint8 [N, K], below 16 if bits is 4. scales, zeros: [N, K / group]. Activations are rounded to 8 bits by
    token and group, so the result differs from the exact one by about half a percent of its norm.
    """

    def __init__(
        self, kernels: Kernels, values: Tensor, scales: Tensor, zeros: Tensor, *, bias: Tensor | None, bits: int
    ) -> None:
        super().__init__()
        self.out_features, self.in_features = values.shape
        groups = scales.shape[1]
        self._group = self.in_features // groups
        if not fits(self.out_features, self.in_features, self._group) or bits not in (4, 8):
            raise ValueError(f"the kernels do not take {bits} bits, {list(values.shape)} in groups of {self._group}")
        self._kernels = kernels
        self.bits = bits
        self.packed: Tensor
        self.scale: Tensor
        self.shift: Tensor
        self.bias: Tensor | None
        self.register_buffer("packed", torch.empty(values.numel() * bits // 8, dtype=torch.uint8))
        source = values.contiguous()
        pack = kernels.pack_int4 if bits == 4 else kernels.pack_int8
        pack(source.data_ptr(), self.packed.data_ptr(), self.out_features, self.in_features)
        self.register_buffer("scale", _by_block(scales))
        self.register_buffer("shift", _by_block(scales.float() * zeros.float()))
        self.register_buffer("bias", None if bias is None else bias.detach().float().contiguous())

    def forward(self, x: Tensor) -> Tensor:
        """[..., K] -> [..., N], float32 or bfloat16."""
        if x.dtype not in KERNEL_TYPES or x.shape[-1] != self.in_features:
            raise ValueError(f"expected float32 or bfloat16 [..., {self.in_features}], got {x.dtype} {list(x.shape)}")
        x = x.contiguous()
        y = torch.empty((*x.shape[:-1], self.out_features), dtype=x.dtype)
        call = LinearCall(
            x.data_ptr(),
            self.packed.data_ptr(),
            self.scale.data_ptr(),
            self.shift.data_ptr(),
            None if self.bias is None else self.bias.data_ptr(),
            y.data_ptr(),
            x.numel() // self.in_features,
            self.out_features,
            self.in_features,
            self._group,
            self.bits,
            KERNEL_TYPES[x.dtype],
        )
        self._kernels.linear(call, self._kernels.instruction_set)
        return y

    def rows(self, numbers: Tensor) -> Tensor:
        """Dequantized rows [U, K] float32 of the weight; numbers: [U] int64."""
        blocks, lanes = numbers // _LANES, numbers % _LANES
        packed = self.packed.view(self.out_features // _LANES, -1, _LANES, 4)[blocks, :, lanes]  # [U, runs, 4]
        runs = torch.stack((packed & 15, packed >> 4), dim=2) if self.bits == 4 else packed
        values = runs.reshape(len(numbers), -1, self._group).float()
        scale, shift = (table[blocks, :, lanes, None] for table in (self.scale, self.shift))
        return (values * scale - shift).flatten(1)


def _by_block(values: Tensor) -> Tensor:
    """[N, G] -> [N / 16, G, 16] float32: the sixteen outputs of a block side by side."""
    return values.float().unflatten(0, (-1, _LANES)).transpose(1, 2).contiguous()
