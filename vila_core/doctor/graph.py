"""Checks of the graph: who publishes what, whether both ends fit, and whether the base stops by itself."""

from __future__ import annotations

import math
from collections.abc import Iterator

from vila_core.doctor.findings import Finding, amber, green, red, unknown
from vila_core.doctor.observations import Endpoint, Observations

ALONE = ("odom", "cmd_vel")  # topics that one node publishes, by the end of their names


def qos(observed: Observations) -> Finding:
    """Name the publishers whose quality of service a subscriber does not fit."""
    if not observed.endpoints:
        return unknown("a bag has no graph")
    misfits = list(_misfits(observed))
    if misfits:
        more = f" (and {len(misfits) - 1} more)" if len(misfits) > 1 else ""
        return red(
            f"{misfits[0]}{more}", "set the parameter of the end that can change: docs/cameras.md, docs/parameters.md"
        )
    return green(f"{len(observed.endpoints)} ends of topics fit")


def _misfits(observed: Observations) -> Iterator[str]:
    topics: dict[str, list[Endpoint]] = {}
    for endpoint in observed.endpoints:
        topics.setdefault(endpoint.topic, []).append(endpoint)
    for topic, ends in sorted(topics.items()):
        for sender in (end for end in ends if end.is_publisher):
            for hearer in (end for end in ends if not end.is_publisher):
                if hearer.is_reliable and not sender.is_reliable:
                    yield f"{topic}: {sender.node} offers best_effort, {hearer.node} asks for reliable: none passes"
                elif hearer.is_latched and not sender.is_latched:
                    yield f"{topic}: {sender.node} offers volatile, {hearer.node} asks for transient_local: none passes"


def publishers(observed: Observations) -> Finding:
    """Name topics that more than one node publishes, where only one may."""
    if not observed.endpoints:
        return unknown("a bag has no graph")
    senders: dict[str, set[str]] = {}
    for endpoint in observed.endpoints:
        if endpoint.is_publisher and endpoint.topic.rpartition("/")[2] in ALONE:
            senders.setdefault(endpoint.topic, set()).add(endpoint.node)
    for topic, nodes in sorted(senders.items()):
        others = {node for node in nodes if not (topic.endswith("cmd_vel") and node.rpartition("/")[2] == "watchdog")}
        if len(others) > 1:
            return red(
                f"{topic} is published by {', '.join(sorted(others))}",
                "one may: stop the others, or put twist_mux between (docs/robots.md)",
            )
    return green("one publisher of odometry and of velocities each" if senders else "nobody publishes odometry")


def command_timeout(observed: Observations) -> Finding:
    """Name a base that drives on when commands end."""
    robot = observed.robot
    if robot is None:
        return unknown("no recipe was named; --robot does")
    if robot.command_timeout_s == 0:
        return red(
            f"the base of {robot.name!r} has no command timeout: if everything of ours dies, it drives on",
            "set one in its driver (cmd_vel_timeout of diff_drive_controller), half a second at most",
        )
    if math.isnan(robot.command_timeout_s):
        return amber(
            f"nobody knows when the base of {robot.name!r} stops after its last command",
            "measure it (docs/robots.md, 6) and write command_timeout_s into the recipe",
        )
    if robot.command_timeout_s > 0.6:
        return amber(
            f"the base of {robot.name!r} drives on for {robot.command_timeout_s:g} s after its last command",
            "set its driver's timeout to half a second at most",
        )
    return green(f"the base of {robot.name!r} stops {robot.command_timeout_s:g} s after its last command")
