"""`vila bench nav`: in this process, or with `--ros` by the simulator and the navigator that run."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from vila_tools.evaluation import navigation


def main(argv: Sequence[str] | None = None) -> int:
    """Run one or the other; ROS is imported for the other alone."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    if "--ros" not in arguments:
        return navigation.main(arguments)
    from vila_tools.ros_navigation import run

    return run.main(arguments)


if __name__ == "__main__":
    sys.exit(main())
