"""What a drill works with: the graph, who watches, what lies, and the processes of the nodes."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from vila_core.errors import VilaError
from vila_tools.inject.relay_link import RelayLink
from vila_tools.inject.witness import Witness
from vila_tools.session.processes import NodeSpec
from vila_tools.session.session import Session

NODES = ("navigator", "controller", "governor", "watchdog")


class Processes(Protocol):
    """The processes of the nodes by name."""

    def signal(self, name: str, number: int) -> None:
        """Send a signal."""

    def kill(self, name: str) -> None:
        """End the node without a word."""

    def restart(self, name: str) -> None:
        """Start the node that was killed, unless somebody else does."""

    def is_running(self, name: str) -> bool:
        """Return True if the node's process is there."""


@dataclass(slots=True)
class Rig:
    """A robot, simulated or real, that is drilled. relay: what is between sensors and nodes."""

    session: Session
    witness: Witness
    relay: RelayLink
    processes: Processes
    instruction: str  # empty: somebody else gives it
    put_back: Callable[[], None] = lambda: None  # the robot to its start
    begun_s: float = 0.0  # steady time of the fault's beginning

    def begin(self) -> None:
        """Say that the fault begins now; what must be prepared for it says so again."""
        self.witness.mark()
        self.begun_s = time.monotonic()

    def wait(self, condition: Callable[[], object], timeout_s: float) -> bool:
        """Hear messages until the condition holds; False if it does not within the time."""
        return self.session.spin_until(condition, timeout_s)

    def pause(self, seconds: float) -> None:
        """Hear messages for so long."""
        self.session.spin_until(lambda: False, seconds)


class OwnProcesses:
    """The nodes that this program started."""

    def __init__(self, session: Session, specs: Mapping[str, NodeSpec]) -> None:
        self._session, self._specs = session, specs

    def signal(self, name: str, number: int) -> None:
        """Send a signal."""
        os.kill(self._session.process_id(name), number)

    def kill(self, name: str) -> None:
        """End the node without a word."""
        self._session.kill(name)

    def restart(self, name: str) -> None:
        """Start the node again, as launch does."""
        self._session.start(self._specs[name])

    def is_running(self, name: str) -> bool:
        """Return True: one that ends by itself ends the drill."""
        return True


class FoundProcesses:
    """The nodes that run on this machine in a ROS domain, found by their command lines."""

    def __init__(self, domain: str, proc: Path = Path("/proc")) -> None:
        self._domain, self._proc = domain, proc

    def signal(self, name: str, number: int) -> None:
        """Send a signal. Raises VilaError unless just one process is the node."""
        os.kill(self.find(name), number)

    def kill(self, name: str) -> None:
        """End the node without a word."""
        self.signal(name, signal.SIGKILL)

    def restart(self, name: str) -> None:
        """Leave that to who launched the node."""

    def is_running(self, name: str) -> bool:
        """Return True if the node's process is there."""
        return bool(self._found(name))

    def find(self, name: str) -> int:
        """Return the node's process id. Raises VilaError unless there is just one."""
        found = self._found(name)
        if len(found) != 1:
            which = ", ".join(map(str, found)) or "none"
            raise VilaError(
                f"processes of {name} in ROS domain {self._domain} on this machine: {which}; there must be one"
            )
        return found[0]

    def _found(self, name: str) -> list[int]:
        folders = (folder for folder in self._proc.iterdir() if folder.name.isdecimal())
        return [int(folder.name) for folder in folders if self._is_node(folder, name)]

    def _is_node(self, folder: Path, name: str) -> bool:
        try:
            words = (folder / "cmdline").read_bytes().decode(errors="replace").split("\0")
            environment = (folder / "environ").read_bytes().split(b"\0")
        except OSError:  # it has ended, or is another user's
            return False
        runs = f"vila_ros.{name}.node" in words or any(Path(word).name == f"{name}_node" for word in words)
        domains = [word.split(b"=", 1)[1].decode() for word in environment if word.startswith(b"ROS_DOMAIN_ID=")]
        return runs and (domains or ["0"])[0] == self._domain
