"""`vila reference`: write docs/reference.md from the code, or tell where it differs."""

from __future__ import annotations

import argparse
import difflib
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from vila_core.errors import ConfigError
from vila_core.files.writing import write_text
from vila_tools.cli import COMMANDS
from vila_tools.reference.graph import node_faces
from vila_tools.reference.page import reference_page

DIFFERS = 1


def main(argv: Sequence[str] | None = None) -> int:
    """Write the page and return 0; with --check write nothing, and return 1 with the difference if there is one."""
    arguments = _parser().parse_args(argv)
    file: Path = arguments.file
    if not file.parent.is_dir():
        raise ConfigError(f"--file {file}: there is no folder {file.parent}; run it in the repository's root")
    faces = node_faces()
    page = reference_page(faces, COMMANDS)
    before = file.read_text() if file.is_file() else ""
    if not arguments.check:
        write_text(file, page)
    elif before != page:
        new = f"{file}, as `vila reference` writes it"
        sys.stderr.writelines(
            difflib.unified_diff(before.splitlines(keepends=True), page.splitlines(keepends=True), str(file), new)
        )
    counts = {
        "endpoints": sum(len(face.endpoints) for face in faces),
        "parameters": sum(len(face.parameters) for face in faces),
        "commands": len(COMMANDS),
    }
    print(json.dumps({"file": str(file), "changed": before != page, **counts}))
    return DIFFERS if arguments.check and before != page else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="vila reference", description="Write the tables of topics, parameters and commands from the code."
    )
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 if the file would change")
    parser.add_argument(
        "--file", type=Path, default=Path("docs/reference.md"), help="the file to write (default: %(default)s)"
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
