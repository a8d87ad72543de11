"""The simulated world and the thread that owns it: physics, camera (an OpenGL context belongs to one thread)."""

from __future__ import annotations

import enum
import math
import threading
from collections.abc import Callable
from typing import TypeVar

from vila_core.errors import WorldError
from vila_core.types import Odometry, Pose, VelocityCommand
from vila_ros.simulator.orders import TIMEOUT_S, Orders
from vila_ros.simulator.outputs import Outputs
from vila_ros.simulator.pace import TICK_NS, Pace
from vila_ros.simulator.world import World
from vila_sim.episodes.route import follow
from vila_sim.events.stage import Playback
from vila_sim.mujoco.simulator import CameraConfig, RobotConfig, Simulator

T = TypeVar("T")


class RunState(enum.Enum):
    """Whether time goes on."""

    PLAYING = "playing"
    PAUSED = "paused"
    STOPPED = "stopped"  # paused, with everything at its start


class Simulation:
    """Steps when the pace says so, publishes what is due, and does in between what it is ordered.

    `command` and `order` may be called from any thread; all else is for orders.
    """

    def __init__(self, world: World, camera: CameraConfig, robot: RobotConfig, pace: Pace, outputs: Outputs) -> None:
        self.world, self.state = world, RunState.PLAYING
        self.playback: Playback | None = None
        self.failure = "the simulation thread has ended"
        self._camera, self._robot, self._pace, self._outputs = camera, robot, pace, outputs
        self._simulator: Simulator
        self._begun_ns: int | None = None  # simulated time at which the script was begun
        self._lock = threading.Lock()
        self._command = VelocityCommand()
        self._command_ns: int | None = None  # simulated time of its receipt
        self._time_ns = 0
        self._orders: Orders[Simulation] = Orders()
        self._thread = threading.Thread(target=self._run, name="simulation", daemon=True)
        self.stopping = threading.Event()

    # --- any thread ------------------------------------------------------------------------------

    def start(self) -> None:
        """Begin; `failure` says why if the thread ends by itself."""
        self._thread.start()

    def close(self) -> None:
        """End the thread, which frees the OpenGL context."""
        self.stopping.set()
        if self._thread.is_alive():
            self._thread.join(5.0)

    @property
    def has_failed(self) -> bool:
        """True if the thread has ended by itself."""
        return not self._thread.is_alive() and not self.stopping.is_set()

    def command(self, command: VelocityCommand) -> None:
        """Drive so from now on, until the command's life is over."""
        with self._lock:
            self._command, self._command_ns = command, self._time_ns

    def order(self, order: Callable[[Simulation], T], timeout_s: float = TIMEOUT_S) -> T:
        """Have the thread do it and return what it returns. Raises what it raises, and WorldError if it is too late."""
        return self._orders.give(order, timeout_s)

    # --- orders ----------------------------------------------------------------------------------

    def restart(self, world: World) -> None:
        """Have everything at the start of a world; time goes on, so that nobody's clock jumps."""
        if world.flat != self.world.flat:
            time_ns = self._simulator.time_ns
            self._simulator.close()
            self._build(world)
            self._simulator.set_time(time_ns)
        self.world = world
        self._begun_ns = None
        self.put(world.start)

    def put(self, pose: Pose) -> None:
        """Put the robot somewhere, standing still; time goes on. ValueError for a pose that is not finite."""
        self._simulator.teleport(pose)
        self._forget_command()

    def begin_script(self) -> None:
        """Begin what is scripted, now."""
        self._begun_ns = self._simulator.time_ns

    def set_state(self, state: RunState) -> None:
        """Go on, or have time stand still. WorldError if the clock is another simulator's."""
        if state is not RunState.PLAYING and not self._pace.is_own:
            raise WorldError("the clock is another simulator's: pause that one")
        if state is RunState.STOPPED:
            self.restart(self.world)
        self.state = state

    def reset_time(self) -> None:
        """Begin at time zero again. WorldError if the clock is another simulator's."""
        if not self._pace.is_own:
            raise WorldError("the clock is another simulator's: reset that one")
        self._simulator.set_time(0)

    def step(self, ticks: int) -> None:
        """Do so many ticks of 20 ms and stand still again. WorldError if it is not paused."""
        if self.state is not RunState.PAUSED:
            raise WorldError(f"the simulation is {self.state.value}: only a paused one is stepped")
        for _ in range(ticks):
            if self.stopping.is_set():
                return
            self._tick()

    def odometry(self) -> Odometry:
        """Return where the robot is and how it moves, exactly."""
        return self._simulator.odometry()

    # --- the thread ------------------------------------------------------------------------------

    @property
    def script_s(self) -> float:
        """The time of the script; before it is begun, infinitely long before its start."""
        return -math.inf if self._begun_ns is None else (self._time_ns - self._begun_ns) / 1e9

    def _run(self) -> None:
        try:
            self._build(self.world)
            try:
                self._loop()
            finally:
                self._simulator.close()
        except WorldError as err:
            self.failure = str(err)

    def _build(self, world: World) -> None:
        self._simulator = Simulator(world.flat, self._camera, self._robot, movable=world.script is not None)
        self._simulator.reset(world.start)
        self.playback = None if world.script is None else Playback(self._simulator, world.script)

    def _loop(self) -> None:
        while not self.stopping.is_set():
            self._orders.obey(self)
            if not self._pace.wait(self._simulator):
                continue
            if self.state is RunState.PLAYING:
                self._tick()
            else:
                self._pace.tell(self._simulator)

    def _tick(self) -> None:
        simulator = self._simulator
        if simulator.time_ns < self._time_ns:
            self._forget_command()
        simulator.step(self._current_command(), TICK_NS / 1e9)
        with self._lock:
            self._time_ns = simulator.time_ns
        if self.playback is not None:
            self.playback.advance(self.script_s)
        self._pace.tell(simulator)
        self._outputs.publish(simulator, self._scripted())

    def _scripted(self) -> tuple[Playback, float] | None:
        return None if self.playback is None else (self.playback, self.script_s)

    def _forget_command(self) -> None:
        with self._lock:
            self._command, self._command_ns = VelocityCommand(), None

    def _current_command(self) -> VelocityCommand:
        """Return the patrol's command while it lasts, else the last that came, zero once its life is over."""
        route = self.world.route
        if route is not None and 0.0 <= self.script_s < route.duration_s:
            return follow(route, self.script_s, self._simulator.odometry().pose)
        with self._lock:
            if self._command_ns is None or self._time_ns - self._command_ns > self._robot.command_life_s * 1e9:
                return VelocityCommand()
            return self._command
