"""How a program tells its result: lines for people, then one JSON object, in a file too if that is wanted."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any


def tell(result: Mapping[str, Any], lines: Iterable[str], file: Path | None) -> None:
    """Print the lines, then the result as one line of JSON; write that line to the file, if there is one."""
    for line in lines:
        print(line)
    text = json.dumps(result)
    if file:
        file.write_text(text + "\n", encoding="utf-8")
    print(text)
