"""The oracle's drives through simulated episodes as annotations."""

from __future__ import annotations

from pathlib import Path

from tqdm import tqdm

from vila_core.actions.grammar import format_action
from vila_sim.environment import FlatEnv
from vila_sim.episode_files import read_episodes
from vila_sim.oracle import MAX_DECISIONS, oracle_action
from vila_tools.finetune.annotations import Annotation
from vila_tools.label.samples import Report, save_jpeg

NOT_SOLVED = "the oracle did not reach the goal"


def label_episodes(file: Path, folder: Path, report: Report) -> list[Annotation]:
    """Drive the episodes of a file in the form of VLN-CE, write what was seen below the folder, and return the samples.

    Raises WorldError for a file that cannot be read, or episodes that cannot be played.
    """
    rows: list[Annotation] = []
    env = FlatEnv()
    try:
        for number, episode in enumerate(tqdm(read_episodes(file), desc="episodes", unit="episode", disable=None)):
            report.drives += 1
            frames, made = [env.reset(episode, track_target=True)[0]], list[tuple[int, str]]()
            while not env.stop_called and len(made) < MAX_DECISIONS:
                action = oracle_action(env.pose, env.field, env.target_view())
                made.append((len(frames), format_action(action)))
                frames += [frame for frame, _ in env.act(action)]
            if not env.succeeded:
                report.dropped[NOT_SOLVED] += 1
                continue
            names = [f"{number:04d}/frame_{index:05d}.jpg" for index in range(len(frames))]
            for name, frame in zip(names, frames, strict=True):
                save_jpeg(folder / name, frame.image)
            rows += [
                Annotation(f"{number:04d}-{seen - 1}", episode.instruction, answer, tuple(names[:seen]))
                for seen, answer in made
            ]
            report.used += 1
            report.answers.update(answer for _, answer in made)
    finally:
        env.close()
    return rows
