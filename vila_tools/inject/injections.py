"""Faults as context managers: one begins as it is entered and is gone, or undone, as it is left."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from typing import Any

from std_msgs.msg import Bool, String
from std_srvs.srv import SetBool

from vila_core.errors import VilaError
from vila_core.types import VelocityCommand
from vila_ros.common.qos import latched_qos
from vila_tools.inject.faults import Lie, lie
from vila_tools.inject.intruders import Intruder, commander
from vila_tools.inject.navigator import FORWARD
from vila_tools.inject.rig import Rig

Injection = AbstractContextManager[None]
_CALL_S = 10.0
_RESPAWN_S = 20.0


@contextmanager
def lies(rig: Rig, **told: Lie) -> Iterator[None]:
    """Edit the messages of streams, given by name."""
    _tell(rig, told)
    try:
        yield
    finally:
        _tell(rig, {})


def _tell(rig: Rig, told: Mapping[str, Lie]) -> None:
    rig.relay.lie(told)
    if not rig.wait(rig.relay.is_obeyed, _CALL_S):
        raise VilaError(f"the drill's relay did not answer within {_CALL_S:.0f} s")


def lies_everywhere(rig: Rig, told: Lie, *, clock: bool = True) -> Injection:
    """Edit the messages of all streams; clock: of simulated time too."""
    return lies(rig, **{name: told for name in rig.relay.fed if clock or name != "clock"})


def obstacle(rig: Rig, distance_m: float) -> Injection:
    """Let the scan show something ahead of the robot, that near."""
    return lies(rig, scan=lie("obstacle", distance_m=distance_m))


@contextmanager
def killed(rig: Rig, name: str) -> Iterator[None]:
    """Kill a node's process, and have it started again."""
    rig.processes.kill(name)
    try:
        yield
    finally:
        rig.processes.restart(name)
        if not rig.wait(lambda: rig.processes.is_running(name), _RESPAWN_S):
            raise VilaError(f"{name} did not come back within {_RESPAWN_S:.0f} s; launch it with use_respawn:=true")


@contextmanager
def stopped(rig: Rig, name: str) -> Iterator[None]:
    """Stop a node's process, and let it go on."""
    rig.processes.signal(name, signal.SIGSTOP)
    try:
        yield
    finally:
        rig.processes.signal(name, signal.SIGCONT)


@contextmanager
def intruder(rig: Rig, make: Callable[[], Intruder], *, is_known: bool = True) -> Iterator[None]:
    """Let a stranger onto the graph, and off it; is_known: it speaks once it was discovered, else at once."""
    node = rig.session.add(make())
    try:
        if is_known:
            rig.wait(node.is_heard, _CALL_S)
            rig.begin()
        node.speak()
        yield
    finally:
        rig.session.remove(node)


def teleoperated(rig: Rig, velocity: VelocityCommand) -> Injection:
    """Let an operator drive, at this velocity."""
    return intruder(rig, lambda: commander("teleop/cmd_vel", velocity, "inject_operator"))


@contextmanager
def emergency_topic(rig: Rig) -> Iterator[None]:
    """Press the emergency stop by its topic, and release it."""
    button = rig.witness.create_publisher(Bool, "emergency_stop", latched_qos())
    rig.wait(button.get_subscription_count, _CALL_S)
    rig.begin()
    button.publish(Bool(data=True))
    try:
        yield
    finally:
        button.publish(Bool(data=False))
        rig.pause(0.5)
        rig.witness.destroy_publisher(button)


@contextmanager
def emergency_service(rig: Rig) -> Iterator[None]:
    """Press the emergency stop by its service, and release it."""
    client: Any = rig.witness.create_client(SetBool, "governor/emergency_stop")
    rig.wait(client.service_is_ready, _CALL_S)
    rig.begin()
    client.call_async(SetBool.Request(data=True))
    try:
        yield
    finally:
        released = client.call_async(SetBool.Request(data=False))
        rig.wait(released.done, _CALL_S)
        rig.witness.destroy_client(client)


@contextmanager
def model_says(rig: Rig, reply: str) -> Iterator[None]:
    """Have the scripted model give another reply."""
    rig.witness.replies.publish(String(data=reply))
    try:
        yield
    finally:
        rig.witness.replies.publish(String(data=FORWARD))


@contextmanager
def instructed(rig: Rig, text: str) -> Iterator[None]:
    """Give the navigator an instruction."""
    rig.witness.instruct(text)
    yield
