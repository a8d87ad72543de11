"""`vila engine build DIR`: TensorRT engines of what `vila engine export` wrote, for the device this runs on.

The last line is a JSON object.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path

from tqdm import tqdm

from vila_core.export.builder import BUILD_PRECISIONS, BuildOptions, build_engines
from vila_core.export.runtimes import MODULES


def main(argv: Sequence[str] | None = None) -> int:
    """Build the engines and print what was built."""
    args = _parser().parse_args(argv)
    options = BuildOptions(
        args.precision, args.runtime, args.device_capability, args.workspace_mb, decode_profile=args.decode_profile
    )
    with tqdm(total=2, desc="build", disable=None) as bar:

        def show(part: str) -> None:
            bar.set_postfix_str(part)
            bar.update()

        engines = build_engines(args.directory, options, on_part=show)
    sizes = {part: round((args.directory / file).stat().st_size / 1e6, 2) for part, file in engines.files.items()}
    print(json.dumps(dataclasses.asdict(engines) | {"mb": sizes}))
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="vila engine build", description=__doc__)
    parser.add_argument("directory", type=Path, help="what `vila engine export` wrote")
    parser.add_argument(
        "--precision", choices=BUILD_PRECISIONS, default=BUILD_PRECISIONS[0], help="int8: tower; int4: decoder"
    )
    parser.add_argument("--runtime", choices=sorted(MODULES), default="tensorrt", help="default: %(default)s")
    parser.add_argument("--device-capability", default="", metavar="8.7", help="what to build for (default: this one)")
    parser.add_argument("--workspace-mb", type=int, default=2048, help="scratch memory of a layer")
    parser.add_argument("--decode-profile", action="store_true", help="quicker replies word by word, twice the weights")
    return parser
