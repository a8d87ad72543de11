"""Runs one row of the table: bring the robot to driving, inject, watch, take the fault back, watch on."""

from __future__ import annotations

import time

from vila_core.types import VelocityCommand
from vila_tools.inject.lateness import Lateness
from vila_tools.inject.report import Seen, standstill_s
from vila_tools.inject.rig import Rig
from vila_tools.inject.rows import Row

_DRIVE_S = 40.0  # until the robot drives; a node that was just killed has to come up
_ASK_S, _BEGIN_S = 0.7, 4.0  # until the next instruction: after one that was refused, and one that may begin yet
_SPEEDING_S, _BEGUN_S = 0.4, 0.9  # the fault comes when the robot has driven so long: it is quick, and has far to go
_TELL_S = 3.0  # for the mission's end, once the fault is gone
_AFTER_S = 1.5  # watched for motion, after that
_SETTLE_S = 0.5  # for zeros after the mission's end
_QUIET_S = 5.0
_CATCH_UP_S = 10.0  # for what the recorder told and this program has yet to hear
_STEPS = 4  # of a stop that the machine may delay: a timer, a message and its callback, another, the base


def run_row(rig: Rig, row: Row, lateness: Lateness) -> Seen:
    """Run the row; whatever it did is undone afterwards."""
    witness = rig.witness
    _stand(rig)
    rig.put_back()
    trouble = "" if row.is_idle else _drive(rig, row.driven_m)
    if trouble:
        return Seen(undrivable=trouble)
    mission_id = 0 if witness.mission is None else int(witness.mission.id)
    rig.begin()
    with row.inject(rig):
        rig.wait(lambda: not row.is_idle and witness.end_of(mission_id), row.lasts_s)
        rig.pause(_SETTLE_S)
    gone_s = time.monotonic()
    if row.ends:
        rig.wait(lambda: witness.end_of(mission_id), _TELL_S)
    rig.pause(_AFTER_S)
    until_s = time.monotonic()
    rig.wait(lambda: witness.heard_s >= until_s, _CATCH_UP_S)
    commands = tuple((command.at_s, _stands(command.velocity, row)) for command in witness.commands)
    stood_s = rig.begun_s + standstill_s(commands, rig.begun_s, gone_s)
    return Seen(
        commands=commands,
        begun_s=rig.begun_s,
        gone_s=gone_s,
        until_s=until_s,
        late_s=_STEPS * lateness.worst_s(rig.begun_s, min(stood_s, gone_s)),
        driven_m=witness.driven_m(rig.begun_s),
        ended=witness.end_of(mission_id) if row.ends else "",
        words=_words(rig, row),
    )


def _stand(rig: Rig) -> None:
    """End what the last row may have left."""
    if rig.instruction and rig.witness.is_on_mission:
        rig.witness.cancel()
    rig.wait(lambda: not rig.witness.is_on_mission and rig.witness.is_standing, _QUIET_S)


def _drive(rig: Rig, driven_m: float) -> str:
    """Have the robot drive, and be in the first part of an action; returns why it does not."""
    witness = rig.witness
    asked_s = 0.0
    witness.mark()
    begun_s = time.monotonic()

    def drives() -> bool:
        nonlocal asked_s
        is_due = time.monotonic() - asked_s > (_ASK_S if witness.refusal else _BEGIN_S)
        if rig.instruction and is_due and not witness.is_on_mission:
            asked_s = time.monotonic()
            witness.instruct(rig.instruction)
        return _SPEEDING_S < witness.drives_s < _BEGUN_S and witness.driven_m(begun_s) >= driven_m

    if rig.wait(drives, _DRIVE_S):
        return ""
    mission = witness.mission
    ended = "" if mission is None or mission.running else mission.error_msg
    return "; ".join(filter(None, (witness.refusal, ended, witness.governor_words()))) or f"not within {_DRIVE_S:.0f} s"


def _stands(velocity: VelocityCommand, row: Row) -> bool:
    return velocity.is_zero or (0 <= velocity.linear_mps < row.crawl_mps and velocity.angular_rps == 0)


def _words(rig: Rig, row: Row) -> str:
    mission = rig.witness.mission
    if row.ends and mission is not None and not mission.running:
        return str(mission.error_msg)
    return rig.witness.governor_words() or rig.witness.refusal
