"""The relevance head: what its scores depend on, its files, and the backend's call."""

from __future__ import annotations

import dataclasses
import json
import shutil

import numpy as np
import pytest

pytest.importorskip("torch")

import torch

from vila_core.engine.backend import EMBEDDED_CHECKPOINT, load_backend
from vila_core.errors import BackendError, CheckpointError, FrameError
from vila_core.kernels.library import kernels
from vila_core.models.relevance import RelevanceConfig, RelevanceHead
from vila_core.models.stored.checkpoint import load_checkpoint
from vila_core.models.stored.relevance_files import FOLDER, save_relevance
from vila_core.models.working_precision import quantized_as
from vila_core.testing import make_frame
from vila_core.types import Frame
from vila_tools.quantize import run as quantize

SIZES = RelevanceConfig(
    visual_tokens=16,
    visual_width=128,
    text_width=128,
    picture_px=64,
    patch_px=4,
    eyes_width=40,
    eyes_intermediate=80,
    eyes_layers=1,
    eyes_heads=4,
    width=32,
    cell_width=16,
    heads=2,
    maps=3,
    value_width=4,
)


@pytest.fixture
def head() -> RelevanceHead:
    torch.manual_seed(0)
    return RelevanceHead(SIZES).eval().requires_grad_(False)


@pytest.fixture
def checkpoint(tmp_path, head):
    """A copy of vila-nano with a random head."""
    folder = tmp_path / "nano"
    shutil.copytree(EMBEDDED_CHECKPOINT, folder, ignore=shutil.ignore_patterns(FOLDER))
    save_relevance(head, folder, torch.float32)
    return folder


def inputs(batch: int = 3, frames: int = 5, words: int = 7):
    torch.manual_seed(1)
    known = torch.ones(batch, words, dtype=torch.bool)
    pictures = torch.randint(0, 256, (batch, frames, 96, 96, 3), dtype=torch.uint8)
    views = (torch.randn(batch, frames, 16, 128), torch.randn(batch, frames, 256, 40))
    return *views, pictures, torch.randn(batch, words, 128), known


def scores(head, tokens, features, pictures, words, known):
    """Logits [B, T]: each clip with a question of its own."""
    return head(head.still(tokens, features), pictures, head.question(words, known)[:, None])[0][:, 0]


def test_one_logit_for_each_frame_of_each_clip(head) -> None:
    assert scores(head, *inputs()).shape == (3, 5)


def test_each_question_has_maps_of_the_cells(head) -> None:
    tokens, features, pictures, words, known = inputs()
    questions = head.question(words, known)[None].expand(3, 3, -1)
    logits, maps = head(head.still(tokens, features), pictures, questions)
    assert logits.shape == (3, 3, 5) and maps.shape == (3, 3, 5, 256, SIZES.maps)


def test_padding_of_a_question_changes_nothing(head) -> None:
    *seen, words, known = inputs()
    padded = torch.cat((words, torch.full((3, 4, 128), 9.0)), dim=1)
    mask = torch.cat((known, torch.zeros(3, 4, dtype=torch.bool)), dim=1)
    torch.testing.assert_close(scores(head, *seen, padded, mask), scores(head, *seen, words, known), rtol=0, atol=1e-5)


def test_several_questions_at_once_are_each_alone(head) -> None:
    tokens, features, pictures, words, known = inputs()
    seen = tokens[:1], features[:1], pictures[:1]
    together, _ = head(head.still(*seen[:2]), seen[2], head.question(words, known)[None])
    for number in range(3):
        alone = scores(head, *seen, words[number : number + 1], known[number : number + 1])
        torch.testing.assert_close(together[:, number], alone, rtol=0, atol=1e-5)


def test_a_frame_far_away_does_not_count(head) -> None:
    tokens, features, pictures, words, known = inputs(1, 60)
    other = [seen.clone() for seen in (tokens, features, pictures)]
    for seen in other:
        seen[:, 45:] = 0
    near, far = (scores(head, *seen, words, known)[0, :20] for seen in ((tokens, features, pictures), other))
    torch.testing.assert_close(near, far, rtol=0, atol=1e-5)


def test_what_moves_is_seen_though_the_tower_sees_the_same(head) -> None:
    tokens, features, pictures, words, known = inputs(1, 10)
    still = pictures[:, :1].expand_as(pictures)
    same = tokens[:, :1].expand_as(tokens), features[:, :1].expand_as(features)
    quiet, moved = (scores(head, *same, shown, words, known)[0] for shown in (still, pictures))
    assert float((moved - quiet).abs().max()) > 1e-4


def test_a_head_comes_back_from_its_files(checkpoint, head) -> None:
    model = load_checkpoint(checkpoint)
    assert model.relevance_head is not None and model.relevance_head.config == SIZES
    torch.testing.assert_close(scores(model.relevance_head, *inputs()), scores(head, *inputs()))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"visual_width": 64}, "embeddings visual_width 64 and text_width 128 wide"),
        ({"wide": 3}, "unknown key 'wide'"),
        ({"heads": 3}, "width 32, heads 3"),
        ({"distance_width": -1}, "distance_width = -1"),
        ({"free_space_width": -1}, "free_space_width = -1 must be 0 or more"),
        ({"distance_width": 8}, "expected shape .*, by the sizes in config.json"),
        ({"visual_tokens": 15}, "visual_tokens = 15 are no square grid"),
        ({"patch_px": 5}, "picture_px 64, patch_px 5"),
        ({"width": 64}, "expected shape .*, by the sizes in config.json"),
    ],
)
def test_a_head_that_does_not_fit_is_refused(checkpoint, change, message) -> None:
    file = checkpoint / FOLDER / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | change))
    with pytest.raises(CheckpointError, match=message):
        load_checkpoint(checkpoint)


def test_a_backend_scores_frames(checkpoint) -> None:
    backend = load_backend("torch", checkpoint)
    frames = [make_frame(number) for number in range(6)]
    assert backend.info.relevance_period_s == SIZES.period_s
    told = backend.relevance("the red ball is in view", frames)
    assert len(told) == 6 and all(0.0 < score < 1.0 for score in told)
    assert backend.relevance("the red ball is in view", frames) == pytest.approx(told)
    assert backend.relevance("the door opens", frames) != pytest.approx(told)
    assert backend.visual_cache.misses == 6  # each frame was encoded once
    backend.close()
    with pytest.raises(BackendError, match="closed"):
        backend.relevance("the red ball is in view", frames)


@pytest.mark.parametrize(
    ("width", "told", "count"), [("distance_width", "distances", 256), ("free_space_width", "free_ranges", 16)]
)
def test_a_head_that_was_taught_how_far_tells_it_of_each_cell_or_column(checkpoint, width, told, count) -> None:
    frames = [make_frame(number, seed=number) for number in range(2)]
    untaught = load_backend("torch", checkpoint)
    assert getattr(untaught, told)(frames[0]) is None
    taught = RelevanceHead(dataclasses.replace(SIZES, **{width: 8})).eval().requires_grad_(False)
    save_relevance(taught, checkpoint, torch.float32)
    backend = load_backend("torch", checkpoint)
    near, far = (getattr(backend, told)(frame) for frame in frames)
    assert near.shape == far.shape == (count,) and (near > 0).all() and (near != far).any()
    again = getattr(backend, told)(frames[0])
    assert (again == near).all() and backend.visual_cache.misses == 2  # each frame was seen once


@pytest.fixture
def seeing(checkpoint):
    """A backend whose head tells distances and free ranges."""
    taught = RelevanceHead(dataclasses.replace(SIZES, distance_width=8, free_space_width=8)).eval()
    save_relevance(taught.requires_grad_(False), checkpoint, torch.float32)
    return load_backend("torch", checkpoint)


def test_the_eyes_look_once_at_a_frame_that_came_before_another(seeing, monkeypatch) -> None:
    first, second = (make_frame(number, seed=number) for number in range(2))
    seeing.cells(first), seeing.cells(second)
    looked, look = [], RelevanceHead.features
    monkeypatch.setattr(RelevanceHead, "features", lambda self, it: looked.append(len(it)) or look(self, it))
    seeing.free_ranges(first), seeing.distances(first)
    assert looked == [1]


def test_what_is_no_number_is_never_told(seeing) -> None:
    for weight in seeing.model.relevance_head.distance.parameters():
        weight.fill_(float("inf"))
    for _ in range(2):
        with pytest.raises(BackendError, match="the distances"):
            seeing._scorer.distances(make_frame(0))


@pytest.mark.parametrize("shape", [(48, 64), (48, 64, 1), (48, 64, 4)])
def test_pictures_without_three_colours_are_refused(seeing, shape) -> None:
    with pytest.raises(FrameError, match="expected an image"):
        seeing.cells(Frame(np.zeros(shape, np.uint8), 1))


def test_a_window_that_moves_on_is_scored_as_a_new_one(checkpoint) -> None:
    kept = load_backend("torch", checkpoint)
    frames = [make_frame(number, seed=number) for number in range(30)]
    asked = "the red ball is in view", "the door opens"
    for first, last in ((0, 12), (1, 13), (3, 15), (0, 20), (3, 15), (10, 30)):
        anew = load_backend("torch", checkpoint)
        for question in asked:
            window = frames[first:last]
            assert kept.relevance(question, window) == pytest.approx(anew.relevance(question, window), rel=0, abs=1e-6)


def test_only_what_is_new_is_worked_out(checkpoint) -> None:
    backend = load_backend("torch", checkpoint)
    frames = [make_frame(number, seed=number) for number in range(30)]
    seen: list[int] = []
    backend.model.relevance_head.motion.register_forward_hook(lambda _, inputs, __: seen.append(inputs[0].shape[1]))

    def worked_out(question: str, window) -> int:
        seen.clear()
        backend.relevance(question, window)
        return sum(seen)

    assert worked_out("the door opens", frames[:20]) == 20
    assert worked_out("the red ball is in view", frames[:20]) == 0  # another question, nothing new to see
    assert (
        worked_out("the door opens", frames[1:21]) == 4 + 1
    )  # those that are compared with a first frame, and the new
    assert worked_out("the red ball is in view", frames[1:21]) == 0
    assert worked_out("the door opens", frames[1:21]) == 0


def test_a_checkpoint_without_a_head_says_so(checkpoint) -> None:
    shutil.rmtree(checkpoint / FOLDER)
    backend = load_backend("torch", checkpoint)
    assert backend.info.relevance_period_s is None
    with pytest.raises(BackendError, match="vila-nano has no relevance head"):
        backend.relevance("the door opens", [make_frame(0)])


def test_a_quantized_checkpoint_keeps_its_head(checkpoint, head, tmp_path) -> None:
    out = tmp_path / "int8"
    assert quantize.main([str(checkpoint), "--out", str(out), "--bits", "8", "--plain"]) == 0
    kept = load_checkpoint(out).relevance_head
    assert kept is not None
    torch.testing.assert_close(scores(kept, *inputs()), scores(head, *inputs()), rtol=0, atol=0.01)


@pytest.mark.parametrize("frames", [1, 2, 3])
def test_a_run_may_be_shorter_than_the_lag_of_a_comparison(head, frames) -> None:
    assert scores(head, *inputs(2, frames)).shape == (2, frames)


def test_a_cell_times_a_query_is_the_heads_own_map(checkpoint) -> None:
    """What is kept of a picture answers later as the head would have answered then."""
    backend = load_backend("torch", checkpoint, precision="float32")
    frame, question = make_frame(3, height=120, width=160), "the red chair is in view"
    cells, query = backend.cells(frame), backend.cell_queries([question])[0]
    assert cells.shape == (SIZES.grid**2, SIZES.cell_width) and query.shape == (SIZES.cell_width + 1,)
    head, model = backend.model.relevance_head, backend.model
    with torch.inference_mode():
        words = model.embed_ids(model.tokenizer.encode(question)).float()
        vector = head.question(words[None], torch.ones((1, len(words)), dtype=torch.bool))[None]
        maps = head.maps(torch.from_numpy(cells)[None, None], vector, first=1)[0, 0, 0, :, 0]
    torch.testing.assert_close(torch.from_numpy(cells @ query[:-1] + query[-1]), maps, rtol=1e-4, atol=1e-5)


def test_questions_that_are_asked_together_are_what_each_is_alone(checkpoint) -> None:
    backend = load_backend("torch", checkpoint, precision="float32")
    questions = [f"the {name} is in view" for name in ("red chair", "blue vase", "purple coffee table", "bed")]
    alone = [backend.cell_queries([question])[0] for question in questions]
    np.testing.assert_allclose(backend.cell_queries(questions), alone, rtol=1e-4, atol=1e-5)


def test_cells_of_a_frame_cost_nothing_after_a_question_about_it(checkpoint) -> None:
    backend = load_backend("torch", checkpoint, precision="float32")
    frames = [make_frame(stamp) for stamp in range(4)]
    backend.relevance("the red chair is in view", frames)
    looked = backend.model.relevance_head.eyes.forward = lambda *_: pytest.fail("the eyes looked again")
    assert looked and backend.cells(frames[2]).shape[1] == SIZES.cell_width


def test_cells_of_a_model_without_a_head_are_refused(tmp_path) -> None:
    folder = tmp_path / "bare"
    shutil.copytree(EMBEDDED_CHECKPOINT, folder, ignore=shutil.ignore_patterns(FOLDER))
    backend = load_backend("torch", folder, precision="float32")
    with pytest.raises(BackendError, match="no relevance head"):
        backend.cells(make_frame(0))
    with pytest.raises(BackendError, match="no relevance head"):
        backend.cell_queries(["the red chair is in view"])


def test_its_eyes_multiply_in_8_bits_where_kernels_do_and_see_the_same() -> None:
    exact = load_checkpoint(EMBEDDED_CHECKPOINT).relevance_head
    narrow = load_backend("torch", EMBEDDED_CHECKPOINT, precision="float32").model.relevance_head
    assert quantized_as(narrow.eyes) == ("w8a8" if kernels() else "")
    pictures = torch.from_numpy(np.random.default_rng(0).integers(0, 255, (2, 192, 192, 3), np.uint8))
    with torch.inference_mode():
        wanted, got = exact.features(pictures), narrow.features(pictures)
    assert (got - wanted).norm() < 0.03 * wanted.norm()
