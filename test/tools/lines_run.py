"""Pytest's option --lines-run: what the tests ran of this package, told at the end and written for other programs.

SlipCover counts; between files of tests it takes out the probes of lines that ran, so that these cost nothing more.
It would do so in the midst of a test too, and hold up nodes that other nodes wait for. Looking for those lines takes a
while itself, so it is done before the 1st, 2nd, 4th, 8th... file.
Lines that run in processes which the tests start are not counted.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
import slipcover

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("vila_core", "vila_ros", "vila_tools", "sim/vila_sim")
NEVER = 1 << 30  # times that a line runs before its probe goes, in the midst of a test
LEAST = 12  # files that are named


class LinesRun:
    """Counts the lines in this process, or puts together what the workers counted."""

    def __init__(self, config: pytest.Config) -> None:
        self._is_worker = hasattr(config, "workeroutput")
        self._out = Path(config.getoption("--lines-run"))
        self._file, self._files = None, 0
        self._found: list[dict] = []
        folders = [str(ROOT / package) for package in PACKAGES]
        self._counter = slipcover.Slipcover(d_miss_threshold=NEVER)
        self._importing = slipcover.ImportManager(self._counter, slipcover.FileMatcher(sources=folders))
        self._importing.__enter__()

    def pytest_runtest_setup(self, item: pytest.Item) -> None:
        """Take out the probes of lines that ran, at the first test of a file whose number is a power of two."""
        if item.path != self._file:
            self._file, self._files = item.path, self._files + 1
            if self._files.bit_count() == 1 and hasattr(self._counter, "deinstrument_seen"):
                self._counter.deinstrument_seen()

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Hand what was counted to the process that reports it."""
        self._importing.__exit__(None, None, None)
        counted = self._counter.get_coverage()
        if self._is_worker:
            session.config.workeroutput["lines_run"] = json.dumps(counted)
        else:
            self._found.append(counted)

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node) -> None:
        """Take what a worker counted; one that crashed has nothing."""
        if "lines_run" in getattr(node, "workeroutput", {}):
            self._found.append(json.loads(node.workeroutput["lines_run"]))

    def pytest_terminal_summary(self, terminalreporter) -> None:
        """Print the share of lines that ran, by package and where it is least; write all as XML."""
        if self._is_worker:
            return
        whole = self._found[0]
        for found in self._found[1:]:
            slipcover.merge_coverage(whole, found)
        slipcover.merge_coverage(whole, {"files": _without(whole["files"])})
        self._out.parent.mkdir(parents=True, exist_ok=True)
        with self._out.open("w") as file:
            slipcover.print_xml(whole, source_paths=[str(ROOT)], with_branches=False, outfile=file)
        terminalreporter.section("lines run")
        for line in _report(whole["files"]):
            terminalreporter.write_line(line)
        terminalreporter.write_line(f"all files: {self._out}")


def _without(files: dict[str, dict]) -> dict[str, dict]:
    """Return the package's files that are not among these, because no process imported them: no line of them ran."""
    known, found = {Path(name).resolve() for name in files}, {}
    for file in (file for package in PACKAGES for file in (ROOT / package).rglob("*.py")):
        if file not in known:
            lines = set(slipcover.Slipcover.lines_from_code(compile(file.read_bytes(), file, "exec")))
            found[os.path.relpath(file)] = {"executed_lines": [], "missing_lines": sorted(lines)}
    return found


def _report(files: dict[str, dict]) -> list[str]:
    """Return the share of each package, and of the files in which it is least."""
    shares = []
    for package in PACKAGES:
        inside = [file for name, file in files.items() if f"{package}/" in name]
        ran = sum(len(file["executed_lines"]) for file in inside)
        lines = ran + sum(len(file["missing_lines"]) for file in inside)
        shares.append(f"{package} {100 * ran / max(1, lines):.1f} % of {lines}")
    least = sorted(files, key=lambda name: files[name]["summary"]["percent_covered"])[:LEAST]
    return [", ".join(shares), "least:"] + [
        f"  {files[name]['summary']['percent_covered']:5.1f} %  {name}" for name in least
    ]
