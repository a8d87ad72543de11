"""How a program tells its result: lines for people, then one JSON object, in a file too if that is wanted."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from vila_core.files.writing import write_text
from vila_core.kernels.library import kernels_status


def tell(result: Mapping[str, Any], lines: Iterable[str], file: Path | None) -> None:
    """Print the lines, then the result and the kernels as one line of JSON; write that line to a file given."""
    for line in lines:
        print(line)
    text = json.dumps(with_kernels(result))
    print(text)  # first, for the file may be one that cannot be written
    if file:
        write_text(file, text + "\n")


def with_kernels(result: Mapping[str, Any]) -> dict[str, Any]:
    """Add what the CPU's kernels are on this machine: figures without them mean something else."""
    return {**result, "kernels": asdict(kernels_status())}
