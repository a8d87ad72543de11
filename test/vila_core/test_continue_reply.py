"""A reply that is written a few tokens at a time, with other work between, is the one that is written at once."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest

pytest.importorskip("torch")

import torch

from vila_core.engine.backend import EMBEDDED_CHECKPOINT
from vila_core.engine.prefix_cache import Piece, with_ids
from vila_core.engine.sampling import Picker, Sampling, greedy
from vila_core.engine.torch_backend import load_torch_backend
from vila_core.errors import BackendError, NotFiniteError
from vila_core.types import Frame, Prompt, Visual


@pytest.fixture(scope="module")
def backend():
    loaded = load_torch_backend(EMBEDDED_CHECKPOINT, device="cpu", precision="float32", check_memory=False)
    yield loaded
    loaded.close()


def prompt(slot: str, number: int = 1) -> Prompt:
    image = np.full((96, 96, 3), 40 * number, np.uint8)
    return Prompt(f"<s>Task: {number}\nNow:<image>", (Visual(Frame(image, number)),), cache_slot=slot)


def note(told: list[int], token: int) -> bool:
    told.append(token)
    return True


def written(backend, asked: Prompt, slices: list[int], picker, between=lambda: None) -> list[int]:
    ids: list[int] = []
    for most in slices:
        backend.continue_reply(asked, tuple(ids), most, picker, partial(note, ids))
        between()
    return ids


@pytest.mark.parametrize("sampling", [Sampling(), Sampling(temperature=1.3, top_p=0.9, seed=11)])
def test_slices_are_the_whole_and_cost_one_token_each(backend, sampling):
    whole = written(backend, prompt("a"), [12], Picker(sampling))
    prefixes = backend.decoder.prefixes
    prefilled = []

    def count() -> None:
        prefilled.append(prefixes.prefilled)

    backend.decoder.forget()
    assert written(backend, prompt("a"), [5, 1, 4, 2], Picker(sampling), count) == whole
    assert np.diff(prefilled).tolist() == [1, 1, 1]


def test_other_prompts_between_change_nothing_even_where_they_take_the_rows(backend):
    whole = {number: written(backend, prompt("x", number), [9], greedy) for number in (1, 2)}
    ids: dict[int, list[int]] = {1: [], 2: []}
    for _ in range(3):
        for number, told in ids.items():
            backend.continue_reply(
                prompt(f"s{number}", number),
                tuple(told),
                3,
                greedy,
                lambda token, told=told: told.append(token) or True,
            )
        backend.decoder.forget()
    assert ids == whole


def test_it_ends_where_it_is_told_to(backend):
    ids: list[int] = []

    def tell(token: int) -> bool:
        ids.append(token)
        return len(ids) < 2

    backend.continue_reply(prompt("b"), (), 10, greedy, tell)
    assert len(ids) == 2


def test_it_is_what_generate_writes(backend):
    asked = prompt("c")
    text = backend.generate(asked, 8)
    ids = written(backend, asked, [8], greedy)
    assert backend.model.tokenizer.decode(ids).startswith(text)


def test_too_long_a_reply_and_numbers_that_are_none_are_errors(backend, monkeypatch):
    with pytest.raises(BackendError, match="positions"):
        backend.continue_reply(prompt("d"), (), 5000, greedy, lambda token: True)
    nothing = torch.full((1,), float("nan"))
    with pytest.raises(NotFiniteError):
        backend.continue_reply(prompt("d"), (), 3, lambda logits: (torch.zeros(1, dtype=torch.long), nothing), bool)


def test_a_picker_draws_from_the_most_probable_and_notes_them():
    logits = torch.tensor([0.0, 3.0, 2.9, -5.0])
    narrow = Picker(Sampling(temperature=1.0, top_p=0.3, seed=1, alternatives=2))
    assert {int(narrow(logits)[0]) for _ in range(20)} == {1}
    assert narrow.noted[0].id == 1 and [one for one, _ in narrow.noted[0].alternatives] == [1, 2]
    assert narrow.noted[0].logprob == pytest.approx(float(torch.log_softmax(logits, -1)[1]))
    wide = Picker(Sampling(temperature=1.0, top_p=0.95, seed=1))
    drawn = [int(wide(logits)[0]) for _ in range(300)]
    assert set(drawn) == {1, 2} and 90 < drawn.count(1) < 210


def test_ids_go_on_with_the_last_text():
    text, visual = Piece.of_text((1, 2)), Piece(4, visual="v")
    assert with_ids((visual, text), (3,)) == (visual, Piece.of_text((1, 2, 3)))
    assert with_ids((text, visual), (3,)) == (text, visual, Piece.of_text((3,)))
    assert with_ids((text,), ()) == (text,)
