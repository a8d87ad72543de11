"""`vila merge ADAPTER --out DIR`: an adapter and its base as one checkpoint, which can be quantized like any other."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from tqdm import tqdm

from vila_core.errors import ConfigError
from vila_core.files.writing import require_unused
from vila_core.models.stored.layouts import Layout, open_layout
from vila_core.models.stored.merging import write_merged


def main(argv: Sequence[str] | None = None) -> int:
    """Merge; the last line on stdout is one JSON object."""
    parser = argparse.ArgumentParser(prog="vila merge", description=__doc__)
    parser.add_argument("adapter", type=Path, help="a directory with adapter_config.json")
    parser.add_argument("--out", type=Path, required=True, help="the directory to write")
    args = parser.parse_args(argv)
    layout = _adapter_layout(args.adapter)
    require_unused(args.out)
    write_merged(layout, args.out, progress=partial(tqdm, desc="files", unit="file", disable=None))
    adapter = layout.adapter
    assert adapter is not None
    size = sum(file.stat().st_size for file in args.out.rglob("*.safetensors"))
    changed = {"low_rank": len(adapter.low_rank), "replaced": len(adapter.replaced)}
    print(json.dumps({"checkpoint": str(args.out), "base": str(adapter.base), **changed, "mb": round(size / 1e6, 2)}))
    return 0


def _adapter_layout(folder: Path) -> Layout:
    layout = open_layout(folder)
    if layout.adapter is None:
        raise ConfigError(f"{folder} holds no adapter_config.json; there is nothing to merge")
    return layout
