"""`vila quantize CHECKPOINT --out DIR`: AWQ for the decoder and its head, W8A8 for the vision tower.

The checkpoint that comes out is used like any other. A run that was stopped goes on with the layer it was at.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from functools import partial
from itertools import islice
from pathlib import Path

import torch
from tqdm import tqdm

from vila_core.errors import ConfigError
from vila_core.machine.arithmetic import DTYPES
from vila_core.machine.precision import AUTO, choose_precision
from vila_core.models.stored.checkpoint import load_checkpoint
from vila_core.models.stored.layouts import Json, Layout, open_layout
from vila_core.models.stored.quantized_weights import require_plain
from vila_core.models.stored.stored_layers import StoredLayers
from vila_core.models.stored.weight_check import check_weights, require_undamaged
from vila_core.models.working_precision import stored_precision
from vila_core.quantization.linear import BITS
from vila_core.quantization.search_file import read_search_result
from vila_core.quantized_checkpoints.calibration import Calibration, calibrate
from vila_core.quantized_checkpoints.description import describe
from vila_core.quantized_checkpoints.quantize import (
    DecoderPlan,
    quantize_decoder,
    quantize_tower,
    require_matching,
)
from vila_core.quantized_checkpoints.state import QuantizeState, fingerprint
from vila_core.quantized_checkpoints.writer import write_checkpoint
from vila_tools.evaluation.rollouts import Rollout
from vila_tools.options import add_precision_option
from vila_tools.quantize.sources import (
    bag_rollouts,
    calibration_prompts,
    episode_rollouts,
    film_rollout,
    image_rollouts,
)

_MAX_ROLLOUTS = 64


def main(argv: Sequence[str] | None = None) -> int:
    """Quantize; the last line on stdout is one JSON object."""
    args = _parser().parse_args(argv)
    # 1. What is asked for, and of what: nothing is loaded before it is known to make sense.
    layout = open_layout(args.checkpoint)
    require_plain(layout)
    require_undamaged(layout, check_weights(layout, partial(tqdm, desc="weights", unit="tensor", disable=None)))
    stored = stored_precision(layout)
    if args.bits == BITS and (args.group < 2 or args.group % 2):
        raise ConfigError(f"--group {args.group}: must be even and at least 2")
    known = read_search_result(args.search_result) if args.search_result else None
    rollouts = _rollouts(args)
    # 2. The model, its decoder's layers left in their files, and what it sees in the calibration.
    layers = StoredLayers()
    precision = calibration_precision(stored, args.precision, args.device)
    model = load_checkpoint(args.checkpoint, device=args.device, precision=precision, layers=layers)
    if known:
        require_matching(known, model)
    calibration = calibrate(model, calibration_prompts(model, rollouts), args.tokens) if rollouts else None
    plan = DecoderPlan(args.bits, args.group, calibration.embeddings if calibration else (), known)
    # 3. Quantize, a layer at a time.
    options = (args.bits, args.group, str(args.search_result))
    state = QuantizeState(args.out, fingerprint(options, layout, plan.embeddings))
    if args.vision:
        quantize_tower(model, calibration)
    progress = partial(tqdm, desc="decoder layers", unit="layer", disable=None)
    quantize_decoder(model.language_model, layers, plan, state, progress=progress)
    # 4. Write the checkpoint.
    source = "episodes" if args.episodes else "bag" if args.bag else "images"
    description = describe(model, plan, calibration, vision=args.vision, source=source)
    write_checkpoint(model, state, layout, args.out, description, DTYPES[stored])
    state.remove()
    smaller = description["parts"]["llm"].get("smaller_groups", {})
    for name, size in smaller.items():
        print(f"{name}: groups of {size}, for {args.group} does not divide its width")
    print(json.dumps({**_summary(args, layout, calibration), "smaller_groups": smaller}))
    return 0


def calibration_precision(stored: str, asked: str, device: str) -> str:
    """What the model is run in, told on stderr: for "auto" as it is stored, or float32 where that is emulated."""
    chosen = choose_precision(stored if asked == AUTO else asked, torch.device(device), weights=0, is_16_bits=False)
    if asked == AUTO and chosen.is_slow:
        print(f"calibrating in float32, not {chosen}", file=sys.stderr)
        return "float32"
    if chosen.reason:
        print(f"calibrating in {chosen}", file=sys.stderr)
    return chosen.name


def _rollouts(args: argparse.Namespace) -> list[Rollout]:
    given = [source for source in (args.calibration, args.episodes, args.bag) if source is not None]
    if len(given) > 1:
        raise ConfigError("give one of --calibration, --episodes and --bag")
    if args.plain and given:
        raise ConfigError("--plain rounds without looking at data: leave the calibration out")
    if args.topic and not args.bag:
        raise ConfigError("--topic names what to read of a --bag")
    if not given:
        if args.plain or (args.search_result and not args.vision):
            return []
        raise ConfigError("give --calibration DIR, --episodes FILE or --bag FILE, or --plain to round without any")
    if args.calibration and args.calibration.is_file():
        return [film_rollout(args.calibration, args.instruction)]
    if args.calibration:
        return list(islice(image_rollouts(args.calibration, args.instruction), _MAX_ROLLOUTS))
    if args.episodes:
        return list(episode_rollouts(args.episodes, _MAX_ROLLOUTS))
    return list(bag_rollouts(args.bag, args.instruction, args.topic))


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
    parser.add_argument(
        "--calibration", type=Path, metavar="PATH", help="a folder of images, or of such folders, or a video file"
    )
    parser.add_argument("--episodes", type=Path, metavar="FILE", help="simulated episodes in the JSON form of VLN-CE")
    parser.add_argument(
        "--bag", type=Path, metavar="FILE", help="a bag with images: a rosbag2 folder, .mcap, .db3, or a ROS 1 .bag"
    )
    parser.add_argument(
        "--topic", action="append", default=[], help="of the bag, once for each to read; default: all of images"
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
