"""Nav2's action NavigateToPose as two distributions have it: there is no wheel of nav2_msgs."""

from __future__ import annotations

import types
from importlib import import_module
from typing import Any

from interface_packages import imported


def nav2_messages(distribution: str) -> types.ModuleType:
    """A module in the place of `nav2_msgs.action`, with the action as "humble" or "kilted" has it."""
    package = f"nav2_msgs_{distribution}"
    imported(package)
    module: Any = types.ModuleType("nav2_msgs.action")
    module.NavigateToPose = import_module(f"{package}.action").NavigateToPose
    return module
