"""`vila bench nav --ros`: episodes driven by the simulator and the navigator that run, whichever they are.

Topics and services alone: the robot is put to each episode's start, its navigator is told the instruction as any
client tells it, and odometry says where it went. The report has the form of `vila bench nav`.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tqdm import tqdm

from vila_core.errors import ConfigError
from vila_sim.corruptions import REPHRASED
from vila_sim.episodes.episode_files import world_name
from vila_sim.episodes.splits import SPLITS, Episode, flat_of
from vila_sim.flats.grid import OccupancyGrid
from vila_tools.command_line import option, parse_options
from vila_tools.evaluation.chosen_episodes import take_episodes
from vila_tools.evaluation.failures import what_failures_share
from vila_tools.evaluation.navigation import episode_set, tell_report
from vila_tools.evaluation.navigation_report import make_report
from vila_tools.report import with_kernels
from vila_tools.ros_navigation.driver import Driven, Driver
from vila_tools.ros_navigation.simulators import CONTROLS, ControlOptions
from vila_tools.session.session import on_graph

POLICY = "ros"  # its name in the report: the navigator that runs
MOTION = "the simulator's physics, driven by the controller and past the governor that run"


@dataclass(frozen=True, slots=True)
class RosNavigationOptions:
    """What to drive, where. truth: a topic of exact odometry in the flat; empty: odom, begun at each start."""

    ros: bool = field(default=False, metadata=option("this form of the program"))
    split: str = field(default="val_unseen_layout", metadata=option(f"of {', '.join(SPLITS)} (%(default)s)"))
    episodes: int = field(default=20, metadata=option("how many (%(default)s)"))
    episode_file: Path | None = field(
        default=None, metadata=option("episodes in the JSON form of VLN-CE instead of the package's")
    )
    seed: int = field(default=0, metadata=option("of the episodes (%(default)s)"))
    namespace: str = field(default="", metadata=option("of the robot's nodes and topics"))
    odom: str = field(default="odom", metadata=option("topic of the odometry (%(default)s)"))
    truth: str = field(default="", metadata=option("topic of true odometry in the flat, if there is one"))
    control: str = field(default="auto", metadata=option(f"of the simulator: {', '.join(CONTROLS)} (%(default)s)"))
    simulator: str = field(default="simulator", metadata=option("the simulator's node (%(default)s)"))
    entity: str = field(default="robot", metadata=option("the robot's name in the simulator (%(default)s)"))
    world: str = field(default="{name}", metadata=option("a flat's uri there, of {name} and {seed} (%(default)s)"))
    loaded: str = field(default="", metadata=option("the flat that is loaded, where none can be, such as flat/12"))
    services: str = field(default="", metadata=option("before the names of the standard's services, such as /"))
    timeout_s: float = field(default=120.0, metadata=option("for an episode, in s (%(default)s)", flag="--timeout"))
    out: Path | None = field(
        default=None, metadata=option("also write report.json and report.md there", metavar="FOLDER")
    )
    json_file: Path | None = field(default=None, metadata=option("also write the report here", flag="--json"))

    def __post_init__(self) -> None:
        if self.split not in SPLITS:
            raise ConfigError(f"split = {self.split!r}: must be one of {', '.join(SPLITS)}")
        if self.episodes < 1:
            raise ConfigError(f"episodes = {self.episodes!r}: must be at least 1")
        if not self.timeout_s > 0:
            raise ConfigError(f"timeout = {self.timeout_s!r}: must be above 0")

    @property
    def simulator_options(self) -> ControlOptions:
        """How the simulator is told."""
        return ControlOptions(self.control, self.simulator, self.entity, self.world, self.loaded, self.services)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the benchmark; print a table and, as the last line, a JSON object."""
    options = parse_options(RosNavigationOptions, argv, prog="vila bench nav --ros", description=__doc__)
    control, episodes = options.simulator_options, chosen(options)
    driven: list[Driven] = []
    with on_graph() as session:
        driver = Driver(session, control, options.namespace, options.odom, options.truth, options.timeout_s)
        by_flat = sorted(episodes, key=lambda episode: (episode.family, episode.flat_seed, episode.include))
        for episode, grid in tqdm(with_grids(by_flat), total=len(episodes), unit="episode"):
            driven.append(driver.drive(episode, grid))
        report = make_ros_report(episodes, driven)
        report |= {"seed": options.seed, "history": "", "control": driver.control_name, **driver.navigator_facts}
    report |= {"corruption": "", "episode_set": episode_set(episodes, options.episode_file)}
    tell_report(report, options.json_file, options.out)
    return 0


def chosen(options: RosNavigationOptions) -> list[Episode]:
    """Return the episodes. Raises ConfigError if the file holds none, or what only `vila bench nav` alone can spoil."""
    episodes = take_episodes(options.episode_file, options.split, options.episodes, options.seed)
    for episode in episodes:
        if episode.sign or episode.corruption not in ("", REPHRASED):
            what = episode.sign or episode.corruption
            raise ConfigError(
                f"episode {episode.episode_id} has {what!r}, which a simulator is not told: leave out --ros"
            )
    return episodes


def with_grids(episodes: Sequence[Episode]) -> Iterator[tuple[Episode, OccupancyGrid]]:
    """Yield each episode with the map of its flat, which is made once for neighbours."""
    name, grid = "", None
    for episode in episodes:
        wanted = world_name(episode.flat_seed, episode.include, episode.family)
        if grid is None or name != wanted:
            name, grid = wanted, OccupancyGrid(flat_of(episode))
        yield episode, grid


def make_ros_report(episodes: Sequence[Episode], driven: Sequence[Driven]) -> dict[str, Any]:
    """Sum up as `vila bench nav` does; `ends` counts how missions ended."""
    by_id = {one.result.episode_id: one.result for one in driven}
    results = [by_id[episode.episode_id] for episode in episodes]
    report = with_kernels(make_report((POLICY,), episodes[0].split, results, motion=MOTION))
    shared = what_failures_share(results, episodes)
    return report | {"ends": dict(Counter(one.end for one in driven)), "shared": shared}


if __name__ == "__main__":
    sys.exit(main())
