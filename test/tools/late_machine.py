"""A test of nodes that fails while the machine is late is run again, and told.

Nodes live in real time: where ten other programs want the processor, a command that is due after 20 ms comes after a
second, and what a robot does then is right, and not what the test is about. So lateness is measured while such a test
runs. On a machine that was on time a failure is a failure at once.
"""

from __future__ import annotations

import time

import pytest

from vila_tools.inject.lateness import Lateness

LATE_S = 0.05  # a beat of the controller and the governor's, twice
AGAIN = 2
FOLDERS = ("vila_ros", "ros")


class LateMachineError(AssertionError):
    """The test failed, and the machine was late."""


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Let pytest-rerunfailures, if it is there, run tests of nodes again."""
    if config.pluginmanager.has_plugin("rerunfailures"):
        for item in items:
            if _has_nodes(item):
                item.add_marker(pytest.mark.flaky(reruns=AGAIN, only_rerun=[LateMachineError.__name__]))


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_setup(item: pytest.Item):
    """Measure while fixtures start nodes."""
    yield from _measured(item)


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_call(item: pytest.Item):
    """Measure while the test runs."""
    yield from _measured(item)


def _has_nodes(item: pytest.Item) -> bool:
    return item.path.parent.name in FOLDERS


def _measured(item: pytest.Item):
    if not _has_nodes(item):
        yield
        return
    begun_s = time.monotonic()
    with Lateness() as lateness:
        outcome = yield
    error = outcome.excinfo and outcome.excinfo[1]
    late_s = lateness.worst_s(begun_s, time.monotonic())
    if isinstance(error, (Exception, pytest.fail.Exception)) and late_s >= LATE_S:
        late = LateMachineError(f"{error}\n(while it ran, the machine was {late_s:.2f} s late)")
        late.__cause__ = error
        outcome.force_exception(late)
