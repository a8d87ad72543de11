"""What a quantized checkpoint says of itself in config.json: how each part was quantized, and from which data."""

from __future__ import annotations

import torch

from vila_core.models.stored.layouts import Json
from vila_core.models.stored.quantized_weights import OWN_METHOD, OWN_VERSION
from vila_core.models.vlm import VisionLanguageModel
from vila_core.quantization.awq_block import LINEARS
from vila_core.quantization.linear import BITS, QuantLinear
from vila_core.quantization.w8a8_layer import ALPHA
from vila_core.quantized_checkpoints.calibration import Calibration
from vila_core.quantized_checkpoints.quantize import DECODER_ALPHA, DecoderPlan
from vila_core.version import package_version


def describe(
    model: VisionLanguageModel, plan: DecoderPlan, calibration: Calibration | None, *, vision: bool, source: str
) -> Json:
    """Return what config.json says of the quantization.

    vision: whether the tower was quantized. source: of the calibration, in a word.
    """
    return {
        "quant_method": OWN_METHOD,
        "version": OWN_VERSION,
        "parts": {"llm": _decoder_json(model, plan, calibration)}
        | ({"vision_tower": _tower_json(calibration)} if vision else {}),
        "calibration": _calibration_json(calibration, source),
        "made_with": {"vila-nav": package_version(), "torch": torch.__version__},
    }


def _decoder_json(model: VisionLanguageModel, plan: DecoderPlan, calibration: Calibration | None) -> Json:
    if plan.bits != BITS:
        smoothed = calibration is not None
        return {"method": "smoothquant" if smoothed else "nearest", **_W8A8, "alpha": DECODER_ALPHA, "head": _W8A8}
    searched = "awq search result" if plan.known is not None else "awq" if calibration else "nearest"
    layers = dict(model.language_model.layers[0].named_modules())
    sizes = {name: layer.group_size for name in LINEARS if isinstance(layer := layers[name], QuantLinear)}
    head = model.language_model.lm_head
    assert isinstance(head, QuantLinear)
    return {
        "method": searched,
        "bits": BITS,
        "group_size": plan.group_size,
        "zero_point": True,
        "smaller_groups": {name: size for name, size in sizes.items() if size != plan.group_size},
        "head": {
            "method": "awq" if searched == "awq" else "nearest",
            "bits": BITS,
            "group_size": head.group_size,
            "copied_from_embedding": model.config.language.tied,
        },
    }


_W8A8: Json = {"bits": 8, "group_size": -1, "zero_point": False, "activations": "8 bits, dynamic, per token"}


def _tower_json(calibration: Calibration | None) -> Json:
    return {"method": "smoothquant", **_W8A8, "alpha": ALPHA} if calibration else {"method": "nearest", **_W8A8}


def _calibration_json(calibration: Calibration | None, source: str) -> Json:
    if calibration is None:
        return {}
    return {
        "source": source,
        "prompts": len(calibration.embeddings),
        "tokens": calibration.tokens,
        "sha256": calibration.sha256,
    }
