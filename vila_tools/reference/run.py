"""`vila reference`: write docs/reference.md and the SROS2 policy from the code, or tell where they differ."""

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
from vila_tools.reference.policy import policy_profiles, policy_xml

DIFFERS = 1


def main(argv: Sequence[str] | None = None) -> int:
    """Write the files and return 0; with --check write nothing, and return 1 with the difference if there is one."""
    arguments = _parser().parse_args(argv)
    for option in ("file", "policy"):
        folder = getattr(arguments, option).parent
        if not folder.is_dir():
            raise ConfigError(f"--{option}: there is no folder {folder}; run it in the repository's root")
    faces, profiles = node_faces(), policy_profiles()
    texts = {arguments.file: reference_page(faces, COMMANDS), arguments.policy: policy_xml(profiles)}
    changed = [str(file) for file, text in texts.items() if _put(file, text, check=arguments.check)]
    counts = {
        "endpoints": sum(len(face.endpoints) for face in faces),
        "parameters": sum(len(face.parameters) for face in faces),
        "commands": len(COMMANDS),
        "rights": sum(len(profile.rights) for profile in profiles),
    }
    print(json.dumps({"files": [str(file) for file in texts], "changed": changed, **counts}))
    return DIFFERS if arguments.check and changed else 0


def _put(file: Path, text: str, *, check: bool) -> bool:
    """Write the file, or with check show where it differs; returns whether it did."""
    before = file.read_text() if file.is_file() else ""
    if not check:
        write_text(file, text)
    elif before != text:
        new = f"{file}, as `vila reference` writes it"
        sys.stderr.writelines(
            difflib.unified_diff(before.splitlines(keepends=True), text.splitlines(keepends=True), str(file), new)
        )
    return before != text


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="vila reference",
        description="Write the tables of topics, parameters and commands, and the policy, from the code.",
    )
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 if a file would change")
    parser.add_argument(
        "--file", type=Path, default=Path("docs/reference.md"), help="the tables to write (default: %(default)s)"
    )
    policy = Path("config/security/policy.xml")
    parser.add_argument("--policy", type=Path, default=policy, help="the SROS2 policy to write (default: %(default)s)")
    return parser


if __name__ == "__main__":
    sys.exit(main())
