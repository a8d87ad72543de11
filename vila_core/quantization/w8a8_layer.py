"""W8A8 for a transformer layer: SmoothQuant into its normalisations, then every linear in 8 bits.

SmoothQuant moves the activations' outliers into the weights behind a normalisation, so that 8 bits hold both.
Source: Xiao et al., arXiv:2211.10438; mit-han-lab/llm-awq, smooth_ln_fcs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from vila_core.quantization.int8_linear import quantize_linears

ALPHA = 0.3  # of the activations' part; what NVILA's own demonstration uses
_LEAST = 1e-5  # of a scale, and of a weight that it is made of

# normalisation -> the linears that read it, below a layer of SigLIP or of the decoder
VISION_FOLDS = {
    "layer_norm1": ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"),
    "layer_norm2": ("mlp.fc1",),
}
DECODER_FOLDS = {
    "input_layernorm": ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"),
    "post_attention_layernorm": ("mlp.gate_proj", "mlp.up_proj"),
}


@contextmanager
def largest_activations(layer: nn.Module, norms: Sequence[str], into: dict[str, Tensor]) -> Iterator[None]:
    """While open, keep the largest magnitude [K] of each channel that the layer's normalisations give, by their names.

    What is there already is raised, not replaced.
    """

    def note(name: str) -> Callable[[nn.Module, object, Tensor], None]:
        def hook(_module: nn.Module, _inputs: object, output: Tensor) -> None:
            seen = output.detach().float().abs().flatten(0, -2).amax(0)
            into[name] = torch.maximum(into[name], seen) if name in into else seen

        return hook

    handles = [layer.get_submodule(name).register_forward_hook(note(name)) for name in norms]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


@torch.no_grad()
def quantize_layer_w8a8(
    layer: nn.Module, folds: Mapping[str, Sequence[str]], activations: Mapping[str, Tensor] | None, alpha: float
) -> int:
    """Smooth a layer and replace all its linears by 8-bit ones; returns how many.

    activations: by normalisation, see largest_activations; None for no smoothing. The layer is made float32.
    """
    layer.float()
    for norm, names in folds.items() if activations is not None else ():
        assert activations is not None
        linears = [_linear(layer, name) for name in names]
        smooth(layer.get_submodule(norm), linears, activations[norm], alpha)
    return quantize_linears(layer)


def _linear(layer: nn.Module, name: str) -> nn.Linear:
    found = layer.get_submodule(name)
    assert isinstance(found, nn.Linear), name
    return found


@torch.no_grad()
def smooth(norm: nn.Module, linears: Sequence[nn.Linear], activations: Tensor, alpha: float) -> None:
    """Divide what the normalisation gives by the scales and multiply the linears' weights by them, in place.

    The result of norm and linears together stays what it was.
    """
    scales = smoothing_scales(activations, [linear.weight for linear in linears], alpha)
    for leaf in ("weight", "bias"):
        value = getattr(norm, leaf, None)
        if value is not None:
            value.div_(scales)
    for linear in linears:
        linear.weight.mul_(scales)


def smoothing_scales(activations: Tensor, weights: Sequence[Tensor], alpha: float) -> Tensor:
    """activation^alpha / weight^(1 - alpha) for each input channel [K].

    activations: largest magnitude of each channel [K]. weights: [N_i, K] of the linears that read them.
    """
    largest = torch.stack([weight.abs().amax(0) for weight in weights]).amax(0).clamp(min=_LEAST)
    return (activations.to(largest.dtype).pow(alpha) / largest.pow(1 - alpha)).clamp(min=_LEAST)
