"""A ROS domain has one owner at a time on this machine, and none after its process has ended."""

from __future__ import annotations

import subprocess
import sys
from contextlib import ExitStack

import pytest

pytest.importorskip("vila_ros")

from vila_core.errors import VilaError
from vila_tools.session import domain
from vila_tools.session.domain import leased_domain

FEW = range(211, 214)  # that nobody else asks for
HOLDER = """
from vila_tools.session import domain
domain.DOMAINS = range(211, 214)
with domain.leased_domain() as held:
    print(held, flush=True)
    input()
"""


@pytest.fixture(autouse=True)
def few(monkeypatch):
    monkeypatch.setattr(domain, "DOMAINS", FEW)


def test_each_has_one_of_its_own_until_it_is_given_back() -> None:
    with ExitStack() as stack:
        assert {stack.enter_context(leased_domain()) for _ in FEW} == set(FEW)
        with pytest.raises(VilaError, match="all 3 ROS domains"), leased_domain():
            pass
    with leased_domain() as again:
        assert again in FEW


def test_another_process_is_given_another_one_and_leaves_it_when_it_is_killed() -> None:
    with subprocess.Popen([sys.executable, "-c", HOLDER], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        held = int(holder.stdout.readline())
        with ExitStack() as stack:
            assert held not in {stack.enter_context(leased_domain()) for _ in range(2)}
        holder.kill()
    with ExitStack() as stack:
        assert held in {stack.enter_context(leased_domain()) for _ in FEW}
