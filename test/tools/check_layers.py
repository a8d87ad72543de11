"""Fail if a layer of the tests did not run: `check_layers.py JUNIT_XML`.

A missing library would skip its tests in silence; continuous integration counts that as a failure.
"""

from __future__ import annotations

import sys
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterable

LAYERS = {
    "torch": ("test.vila_core.test_golden", "test.vila_core.test_models"),
    "ros": ("test.vila_ros.", "test.vila_tools.ros."),
    "sim": ("test.vila_sim.",),
}


def missing_layers(cases: Iterable[ElementTree.Element]) -> list[str]:
    """Return one complaint for each layer of which nothing ran, or of which a library was missing."""
    cases = list(cases)
    complaints = []
    for layer, places in LAYERS.items():
        mine = [case for case in cases if case.get("classname", "").startswith(places)]
        skips = [skip.get("message", "") for case in mine for skip in case.iter("skipped")]
        if len(mine) == len(skips):
            complaints.append(f"{layer}: no test ran ({len(skips)} skipped)")
        complaints += [f"{layer}: {reason}" for reason in skips if "could not import" in reason]
    return complaints


def main(argv: list[str]) -> int:
    """Print the complaints; 0 if there is none."""
    complaints = missing_layers(ElementTree.parse(argv[0]).iter("testcase"))
    for complaint in complaints:
        print(f"layer not tested: {complaint}")
    return 1 if complaints else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
