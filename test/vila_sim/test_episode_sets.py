"""The package's episode files: whole, small, what their seeds give, and without a leak from training."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from vila_core.errors import WorldError
from vila_sim.episodes.episode_files import episodes_text, write_episodes
from vila_sim.episodes.episode_sets import (
    SET_EPISODES,
    SET_SEEDS,
    SET_SPLITS,
    fingerprint,
    holds_set,
    read_set,
    set_path,
)
from vila_sim.episodes.instructions import HELD_OUT_SPLITS, HELD_OUT_TEMPLATES, TRAIN_TEMPLATES, render_instruction
from vila_sim.episodes.splits import SEEDS_PER_SPLIT, Episode, generate_episodes, held_out_pairs, layout_seed

MOST_BYTES = 1_500_000


@pytest.fixture(scope="module")
def sets() -> dict[str, list[Episode]]:
    return {split: read_set(split, SET_EPISODES * len(SET_SEEDS)) for split in SET_SPLITS}


def test_every_split_is_there_and_all_are_small(sets) -> None:
    for split, episodes in sets.items():
        wanted = [f"{split}_{seed}_{n}" for seed in SET_SEEDS for n in range(SET_EPISODES)]
        assert [episode.episode_id for episode in episodes] == wanted
        assert {episode.split for episode in episodes} == {split}
    assert sum(set_path(split).stat().st_size for split in SET_SPLITS) <= MOST_BYTES


@pytest.mark.parametrize("split", SET_SPLITS)
def test_the_files_are_what_their_seeds_give(split: str, sets) -> None:
    for number, seed in enumerate(SET_SEEDS):
        stored = sets[split][number * SET_EPISODES :][:2]
        made = generate_episodes(split, 2, seed)
        rows = [json.loads(episodes_text(episodes))["episodes"] for episodes in (stored, made)]
        for one, other in zip(*rows, strict=True):
            for row in (one, other):
                row["start_rotation"] = [round(value, 6) for value in row["start_rotation"]]
            assert one == other, "flats or tasks are made otherwise now: run `vila episodes`"


def test_no_layout_template_or_pair_of_training_is_in_what_claims_to_be_unseen(sets) -> None:
    def seeds(split: str) -> set[int]:
        return {episode.flat_seed for episode in sets[split]}

    layouts = range(layout_seed("train", 0), layout_seed("train", 0) + SEEDS_PER_SPLIT)  # all that training draws from
    own = [split for split in SET_SPLITS if split not in ("val_seen", "corrupted", "signs")]
    assert all(seed in layouts for seed in seeds("val_seen"))
    assert all(seed not in layouts for split in (*own, "corrupted", "signs") for seed in seeds(split))
    assert sum(len(seeds(split)) for split in own) == len(set.union(*map(seeds, own)))  # nor of one another
    assert seeds("corrupted") == seeds("signs") == seeds("val_unseen_layout")
    trained = set(_renderings(TRAIN_TEMPLATES, sets.values()))
    for split in HELD_OUT_SPLITS:
        assert not trained & {episode.instruction for episode in sets[split]}
    assert not set(TRAIN_TEMPLATES) & set(HELD_OUT_TEMPLATES)
    held_out = held_out_pairs()
    for split, episodes in sets.items():
        pairs = [pair for episode in episodes for pair in episode.named_pairs]
        is_unseen = split in ("val_unseen_combo", "val_all_unseen")
        assert all((pair in held_out) is is_unseen for pair in pairs)


def _renderings(templates, sets) -> Iterator[str]:
    pairs = {pair for episodes in sets for episode in episodes for pair in episode.named_pairs}
    yield from (render_instruction(template, *pair) for template in templates for pair in pairs)


def test_seeds_follow_one_another_and_others_are_generated(sets) -> None:
    assert read_set("door", 3, seed=1) == sets["door"][SET_EPISODES:][:3]
    assert read_set("train", 1)[0].split == "train"
    assert read_set("absent", 1, seed=7) == generate_episodes("absent", 1, 7)
    with pytest.raises(WorldError, match="door has 200 episodes from seed 1 on, not 201"):
        read_set("door", 201, seed=1)
    with pytest.raises(WorldError, match="unknown split 'moon'"):
        read_set("moon", 1)


def test_a_file_that_differs_is_told(tmp_path, sets) -> None:
    file, few = tmp_path / "a.json.gz", generate_episodes("absent", 2)
    assert not holds_set(file, few)
    write_episodes(file, few)
    assert holds_set(file, few) and not holds_set(file, few[:1])


def test_a_fingerprint_is_of_places_and_things_not_of_words(sets) -> None:
    from vila_sim.corruptions import corrupted

    few = sets["val_seen"][:2]
    assert fingerprint(few) == fingerprint([corrupted(episode, "rephrased") for episode in few])
    assert fingerprint(few) != fingerprint(few[::-1])
