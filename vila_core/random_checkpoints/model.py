"""Models of a released shape with random weights made on the device itself: no file of weights is written or read."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from torch import nn

from vila_core.models.stored.checkpoint import build_model
from vila_core.models.stored.config_reader import config_of
from vila_core.models.stored.layouts import open_layout
from vila_core.models.tokenizer import Tokenizer
from vila_core.models.vision_tower import VisionTower
from vila_core.models.vlm import VisionLanguageModel
from vila_core.quantization.groupwise import fitting_group
from vila_core.quantization.int8_linear import Int8Linear
from vila_core.quantization.linear import QuantLinear
from vila_core.random_checkpoints.make import write_description
from vila_core.random_checkpoints.shapes import ModelShape

_DEVIATION = 0.02  # of weights
_GROUP = 128
_STEP_4BIT = _DEVIATION / 4  # 16 steps over four deviations


def random_model(
    folder: Path, shape: ModelShape, device: torch.device, dtype: torch.dtype, *, quantized: bool
) -> VisionLanguageModel:
    """Make a model; its configuration and tokenizer are written to the folder, which must be empty.

    quantized: decoder and head in 4 bits, the tower's linears in 8, as `vila quantize` leaves them; else all of dtype.
    """
    write_description(folder, shape, name=folder.name)
    layout = open_layout(folder)
    config = config_of(layout)
    model = build_model(config, Tokenizer(layout.tokenizer, slow=config.generation == "native"), device="meta")
    if quantized:
        language = model.language_model
        if language.lm_head is None:
            with torch.device("meta"):
                language.lm_head = nn.Linear(config.language.hidden_size, config.language.vocab_size, bias=False)
        with_int4(language, device, dtype)
    fill_random(model, device, dtype)
    if quantized:
        with_int8(model.vision_tower)
    return model.eval().requires_grad_(False)


def fill_random(module: nn.Module, device: torch.device, dtype: torch.dtype) -> None:
    """Give every parameter that lies on "meta" random values: matrices normal ones, norms one, biases zero."""
    torch.manual_seed(0)
    for owner in module.modules():
        for name, value in list(owner.named_parameters(recurse=False)):
            if value.is_meta:
                made = torch.empty(value.shape, device=device, dtype=dtype)
                if value.dim() > 1:
                    made.normal_(0.0, _DEVIATION)
                else:
                    made.fill_(0.0 if name == "bias" else 1.0)
                setattr(owner, name, nn.Parameter(made, requires_grad=False))


def with_int4(root: nn.Module, device: torch.device, dtype: torch.dtype) -> None:
    """Put random 4-bit linears in the place of those below root."""
    _replace_linears(root, lambda linear: _random_int4(linear, device, dtype))


def with_int8(tower: VisionTower) -> VisionTower:
    """Put 8-bit linears in a tower's layers; returns it."""
    _replace_linears(tower.encoder, Int8Linear.of)
    return tower


def _random_int4(linear: nn.Linear, device: torch.device, dtype: torch.dtype) -> QuantLinear:
    """Make a 4-bit layer of a linear's sizes, its zeros about the middle."""
    has_bias = linear.bias is not None
    with torch.device("meta"):
        made = QuantLinear(
            linear.in_features, linear.out_features, fitting_group(linear.in_features, _GROUP), bias=has_bias
        )
    made.weight_int4 = torch.randint(0, 256, made.weight_int4.shape, dtype=torch.uint8, device=device)
    made.scales = torch.full(made.scales.shape, _STEP_4BIT, dtype=torch.float16, device=device)
    made.zeros = torch.randint(7, 9, made.zeros.shape, dtype=torch.uint8, device=device)
    if has_bias:
        made.bias = nn.Parameter(torch.zeros(linear.out_features, dtype=dtype, device=device), requires_grad=False)
    return made


def _replace_linears(root: nn.Module, make: Callable[[nn.Linear], nn.Module]) -> None:
    for owner in list(root.modules()):
        for name, child in list(owner.named_children()):
            if type(child) is nn.Linear:
                setattr(owner, name, make(child))
