"""`vila quantize CHECKPOINT --out DIR`: AWQ for the decoder and its head, W8A8 for the vision tower.

The checkpoint that comes out is used like any other. A run that was stopped goes on with the layer it was at.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
from collections.abc import Mapping, Sequence
from itertools import islice
from pathlib import Path

import torch

from vila_core.errors import CheckpointError, ConfigError
from vila_core.machine.precision import AUTO, choose_precision
from vila_core.models.checkpoint import DTYPES, load_checkpoint
from vila_core.models.heap import trim_heap
from vila_core.models.layouts import Json, Layout, open_layout
from vila_core.models.quantized_weights import OWN_METHOD, OWN_VERSION, quantization_json
from vila_core.models.stored_layers import StoredLayers
from vila_core.models.vlm import VisionLanguageModel
from vila_core.models.working_precision import stored_dtype
from vila_core.quantization.awq_block import LINEARS, BlockResult
from vila_core.quantization.linear import BITS, QuantLinear
from vila_core.quantization.search_file import read_search_result
from vila_core.quantization.w8a8_layer import ALPHA, VISION_FOLDS, quantize_layer_w8a8
from vila_core.version import package_version
from vila_tools.checkpoint.info import stored_quantization
from vila_tools.evaluation.drives import Drive
from vila_tools.options import add_precision_option
from vila_tools.quantize.calibration import Calibration, calibrate
from vila_tools.quantize.decoder import DECODER_ALPHA, DecoderPlan, quantize_decoder
from vila_tools.quantize.sources import bag_drives, episode_drives, image_drives
from vila_tools.quantize.state import QuantizeState
from vila_tools.quantize.writer import write_checkpoint

_MAX_DRIVES = 64


def main(argv: Sequence[str] | None = None) -> int:
    """Quantize; the last line on stdout is one JSON object."""
    args = _parser().parse_args(argv)
    layout = open_layout(args.checkpoint)
    _require_plain(args.checkpoint, layout)
    stored = stored_precision(layout)
    if args.bits == BITS and (args.group < 2 or args.group % 2):
        raise ConfigError(f"--group {args.group}: must be even and at least 2")
    known = read_search_result(args.search_result) if args.search_result else None
    drives = _drives(args)
    layers = StoredLayers()
    precision = calibration_precision(stored, args.precision, args.device)
    model = load_checkpoint(args.checkpoint, device=args.device, precision=precision, layers=layers)
    _check_layers(known or {}, model)
    calibration = calibrate(model, drives, args.tokens) if drives else None
    state = QuantizeState(args.out, _fingerprint(args, layout, calibration))
    if args.vision:
        quantize_tower(model, calibration)
    embeddings = calibration.embeddings if calibration else ()
    plan = DecoderPlan(args.bits, args.group, embeddings, known)
    quantize_decoder(model.language_model, layers, plan, state)
    description = describe(model, args, calibration)
    write_checkpoint(model, state, layout, args.out, description, DTYPES[stored])
    state.remove()
    smaller = description["parts"]["llm"].get("smaller_groups", {})
    for name, size in smaller.items():
        print(f"{name}: groups of {size}, for {args.group} does not divide its width")
    print(json.dumps({**_summary(args, layout, calibration), "smaller_groups": smaller}))
    return 0


def _require_plain(checkpoint: Path, layout: Layout) -> None:
    if quantization_json(layout) or stored_quantization(layout):
        raise CheckpointError(f"{checkpoint} is quantized already; give the checkpoint that it was made of")


def stored_precision(layout: Layout) -> str:
    """Name of the dtype that the decoder's embedding is stored in; CheckpointError for one that is not supported."""
    names, dtype = {dtype: name for name, dtype in DTYPES.items()}, stored_dtype(layout)
    if dtype not in names:
        raise CheckpointError(f"{layout.parts['llm'].folder}: embed_tokens.weight is stored as {dtype}")
    return names[dtype]


def calibration_precision(stored: str, asked: str, device: str) -> str:
    """What the model is run in, told on stderr: for "auto" as it is stored, or float32 where that is emulated."""
    chosen = choose_precision(stored if asked == AUTO else asked, torch.device(device), weights=0, is_16_bits=False)
    if asked == AUTO and chosen.is_slow:
        print(f"calibrating in float32, not {chosen}", file=sys.stderr)
        return "float32"
    if chosen.reason:
        print(f"calibrating in {chosen}", file=sys.stderr)
    return chosen.name


def quantize_tower(model: VisionLanguageModel, calibration: Calibration | None) -> None:
    """Make the tower's linears W8A8, smoothed if there was a calibration."""
    for number, layer in enumerate(model.vision_tower.encoder.layers):
        activations = calibration.tower[number] if calibration else None
        quantize_layer_w8a8(layer, VISION_FOLDS, activations, ALPHA)
        trim_heap()  # of its float32 weights, or the heap would grow by them with each layer


def describe(model: VisionLanguageModel, args: argparse.Namespace, calibration: Calibration | None) -> Json:
    """Return what config.json says of the quantization."""
    return {
        "quant_method": OWN_METHOD,
        "version": OWN_VERSION,
        "parts": {"llm": _decoder_json(model, args, calibration)}
        | ({"vision_tower": _tower_json(calibration)} if args.vision else {}),
        "calibration": _calibration_json(args, calibration),
        "made_with": {"vila-nav": package_version(), "torch": torch.__version__},
    }


def _decoder_json(model: VisionLanguageModel, args: argparse.Namespace, calibration: Calibration | None) -> Json:
    if args.bits != BITS:
        smoothed = calibration is not None
        return {"method": "smoothquant" if smoothed else "nearest", **_W8A8, "alpha": DECODER_ALPHA, "head": _W8A8}
    searched = "awq search result" if args.search_result else "awq" if calibration else "nearest"
    layers = dict(model.language_model.layers[0].named_modules())
    sizes = {name: layer.group_size for name in LINEARS if isinstance(layer := layers[name], QuantLinear)}
    head = model.language_model.lm_head
    assert isinstance(head, QuantLinear)
    return {
        "method": searched,
        "bits": BITS,
        "group_size": args.group,
        "zero_point": True,
        "smaller_groups": {name: size for name, size in sizes.items() if size != args.group},
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


def _calibration_json(args: argparse.Namespace, calibration: Calibration | None) -> Json:
    if calibration is None:
        return {}
    return {
        "source": "episodes" if args.episodes else "bag" if args.bag else "images",
        "prompts": len(calibration.embeddings),
        "tokens": calibration.tokens,
        "sha256": calibration.sha256,
    }


def _drives(args: argparse.Namespace) -> list[Drive]:
    given = [source for source in (args.calibration, args.episodes, args.bag) if source is not None]
    if len(given) > 1:
        raise ConfigError("give one of --calibration, --episodes and --bag")
    if args.plain and given:
        raise ConfigError("--plain rounds without looking at data: leave the calibration out")
    if not given:
        if args.plain or (args.search_result and not args.vision):
            return []
        raise ConfigError("give --calibration DIR, --episodes FILE or --bag FILE, or --plain to round without any")
    if args.calibration:
        return list(islice(image_drives(args.calibration, args.instruction), _MAX_DRIVES))
    if args.episodes:
        return list(episode_drives(args.episodes, _MAX_DRIVES))
    return list(bag_drives(args.bag, args.instruction))


def _fingerprint(args: argparse.Namespace, layout: Layout, calibration: Calibration | None) -> str:
    """Hash of all that a quantized layer depends on; of large weight files their size and time."""
    digest = hashlib.sha256(json.dumps([args.bits, args.group, str(args.search_result), layout.language.raw]).encode())
    for rows in calibration.embeddings if calibration else ():
        digest.update(rows.float().cpu().numpy().tobytes())
    for file in sorted(layout.parts["llm"].folder.glob("*.safetensors")):
        facts = file.stat()
        digest.update(f"{file.name} {facts.st_size} {facts.st_mtime_ns}".encode())
    return digest.hexdigest()


def _check_layers(known: Mapping[int, BlockResult], model: VisionLanguageModel) -> None:
    """Refuse a search result of another model."""
    if known and set(known) != set(range(model.config.language.layers)):
        raise CheckpointError(
            f"the search result is of {len(known)} layers, the checkpoint has {model.config.language.layers}"
        )
    for number, result in known.items():
        misfit = result.misfit(model.language_model.layers[number])
        if misfit:
            raise CheckpointError(f"the search result is of another model: layer {number}: {misfit}")


def _summary(args: argparse.Namespace, layout: Layout, calibration: Calibration | None) -> Json:
    return {
        "checkpoint": str(args.out),
        "bits": args.bits,
        "vision": "w8a8" if args.vision else "as it was",
        "tokens": calibration.tokens if calibration else 0,
        "prompts": len(calibration.embeddings) if calibration else 0,
        "mb_before": _weights_mb(layout.root),
        "mb": _weights_mb(args.out),
    }


def _weights_mb(folder: Path) -> float:
    return round(sum(file.stat().st_size for file in folder.rglob("*.safetensors")) / 1e6, 2)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="vila quantize", description=__doc__)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--out", type=Path, required=True, help="the directory to write")
    parser.add_argument("--calibration", type=Path, metavar="DIR", help="a folder of images, or of such folders")
    parser.add_argument("--episodes", type=Path, metavar="FILE", help="simulated episodes in the JSON form of VLN-CE")
    parser.add_argument(
        "--bag", type=Path, metavar="FILE", help="a bag with images: a rosbag2 folder, .mcap, .db3, or a ROS 1 .bag"
    )
    parser.add_argument("--instruction", help="what the robot was told in the images or the bag")
    parser.add_argument("--tokens", type=int, default=4096, help="of calibration, about; default: %(default)s")
    parser.add_argument("--bits", type=int, choices=(BITS, 8), default=BITS, help="of the decoder: 4 W4A16, 8 W8A8")
    parser.add_argument("--group", type=int, default=128, help="weights that share a scale; default: %(default)s")
    parser.add_argument("--no-vision", dest="vision", action="store_false", help="leave the vision tower as it is")
    parser.add_argument("--plain", action="store_true", help="round to the nearest, without calibration")
    parser.add_argument("--search-result", type=Path, metavar="FILE", help="llm-awq's .pt file of scales and clips")
    add_precision_option(parser, about="of running the model; auto: as it is stored, if the device computes that well")
    parser.add_argument("--device", default="cpu", help="where to search, as torch names it (default: %(default)s)")
    return parser
