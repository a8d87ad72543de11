"""Models of a released shape with random weights made on the device itself: no file of gigabytes is written or read."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

from vila_core.models.checkpoint import build_model
from vila_core.models.config_reader import config_of
from vila_core.models.layouts import open_layout
from vila_core.models.random_weights import fill_random, with_int4, with_int8
from vila_core.models.tokenizer import Tokenizer
from vila_core.models.vlm import VisionLanguageModel
from vila_tools.checkpoint.make_random import write_description
from vila_tools.checkpoint.model_shapes import ModelShape


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
