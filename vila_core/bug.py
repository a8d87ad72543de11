"""What is said of an error that nobody foresaw: it is a bug, and whoever sees it is asked to report it."""

from __future__ import annotations

import platform
import traceback

from vila_core.version import package_version

MAINTAINER = "maintainers@vila-nav.invalid"  # as package.xml names it
BUG = 70  # the exit status, EX_SOFTWARE of sysexits.h


def bug_report(error: BaseException) -> str:
    """Return the traceback, and a last line that asks for a report of it."""
    trace = "".join(traceback.format_exception(error))
    where = f"vila_nav {package_version()}, Python {platform.python_version()}, {platform.platform()}"
    return f"{trace}this is a bug, please report it with the lines above to {MAINTAINER} ({where})"
