"""The oracle's drives through simulated episodes as annotations."""

from __future__ import annotations

from pathlib import Path

from tqdm import tqdm

from vila_core.actions.grammar import format_action
from vila_sim.environment import FlatEnv
from vila_sim.episodes.episode_files import read_episodes
from vila_tools.evaluation.rollouts import oracle_rollout
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
            drive = oracle_rollout(env, episode)
            if not env.succeeded:
                report.dropped[NOT_SOLVED] += 1
                continue
            names = [f"{number:04d}/frame_{index:05d}.jpg" for index in range(len(drive.frames))]
            for name, frame in zip(names, drive.frames, strict=True):
                save_jpeg(folder / name, frame.image)
            answers = [format_action(action) for action in drive.actions]
            rows += [
                Annotation(f"{number:04d}-{seen - 1}", episode.instruction, answer, tuple(names[:seen]))
                for seen, answer in zip(drive.decisions, answers, strict=True)
            ]
            report.used += 1
            report.answers.update(answers)
    finally:
        env.close()
    return rows
