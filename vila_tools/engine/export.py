"""`vila engine export CHECKPOINT --out DIR`: ONNX files of the vision tower with projector, and of the decoder.

With --calibration the vision tower is exported in 8 bits too. The last line is a JSON object.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

from tqdm import tqdm

from vila_core.export.compare import is_close
from vila_core.export.exporter import MOST_FRAMES, PRECISIONS, ExportOptions, check_export, export_checkpoint
from vila_core.export.manifest import read_manifest
from vila_core.media.pictures import list_images, read_image
from vila_core.types import Frame


def main(argv: Sequence[str] | None = None) -> int:
    """Export, and with --check compare onnxruntime's results with torch's: 1 if they differ by too much."""
    args = _parser().parse_args(argv)
    frames = read_calibration(args.calibration, args.calibration_frames) if args.calibration else []
    options = ExportOptions(
        args.precision, batch=args.batch, tokens=args.tokens, rows=args.rows, keep_int4=not args.plain_decoder
    )
    parts = 4 if frames else 3
    with tqdm(total=parts, desc="export", disable=None) as bar:

        def show(part: str) -> None:
            bar.set_postfix_str(part)
            bar.update()

        graphs = export_checkpoint(args.checkpoint, args.out, options, calibration=frames, on_part=show)
    manifest = read_manifest(args.out)
    errors = check_export(graphs, args.out, manifest) if args.check else {}
    close = is_close(errors, args.precision)
    size = sum(file.stat().st_size for file in args.out.rglob("*") if file.is_file())
    report = {
        "export": str(args.out),
        "precision": manifest.precision,
        "graphs": sorted(manifest.graphs),
        "mb": round(size / 1e6, 2),
        "relative_errors": errors,
        "close": close if args.check else None,
    }
    print(json.dumps(report))
    return int(not close)


def read_calibration(folder: Path, most: int) -> list[Frame]:
    """Read at most so many images, evenly spread over the folder's; MediaError as media.list_images."""
    files = list_images(folder)
    chosen = [files[at * len(files) // most] for at in range(most)] if len(files) > most else files
    return [Frame(read_image(file), number) for number, file in enumerate(chosen)]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="vila engine export", description=__doc__)
    parser.add_argument("checkpoint", type=Path, help="a checkpoint directory")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="the directory to write")
    parser.add_argument("--precision", choices=PRECISIONS, default=PRECISIONS[0], help="default: %(default)s")
    parser.add_argument("--batch", type=int, default=MOST_FRAMES, help="most frames at once (default: %(default)s)")
    parser.add_argument("--tokens", type=int, default=0, help="most tokens of a pass (default: 768)")
    parser.add_argument("--rows", type=int, default=0, help="most tokens the engine remembers (default: 4096)")
    parser.add_argument("--calibration", type=Path, metavar="DIR", help="camera pictures, for the 8-bit vision tower")
    parser.add_argument("--calibration-frames", type=int, default=64, help="most of them (default: %(default)s)")
    parser.add_argument("--plain-decoder", action="store_true", help="do not keep a 4-bit decoder in 4 bits")
    parser.add_argument("--check", action="store_true", help="compare with torch, in onnxruntime")
    return parser
