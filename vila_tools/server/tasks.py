"""What the worker does for one request, a step at a time, and what it tells on the way."""

from __future__ import annotations

import dataclasses
import math
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from vila_core.engine.sampling import PickedToken, Picker
from vila_core.engine.torch_backend import TorchBackend, stop_ids
from vila_core.types import Prompt
from vila_tools.server.chat_prompt import Question
from vila_tools.server.errors import BAD_REQUEST, RefusedError
from vila_tools.server.reply_text import ReplyText

SLICE = 16  # tokens after which others get their turn


@dataclass(frozen=True, slots=True)
class TokenText:
    """A token's text with its logarithmic probability, and those beside it, best first."""

    text: str
    logprob: float
    alternatives: tuple[tuple[str, float], ...] = ()


@dataclass(frozen=True, slots=True)
class Piece:
    """Text that was added to a reply, and its tokens if their probabilities were asked for."""

    text: str
    tokens: tuple[TokenText, ...] = ()


@dataclass(frozen=True, slots=True)
class Finished:
    """The end of a reply. probabilities: one for each choice, none for what was written."""

    reason: str  # "stop" or "length", as OpenAI has it
    prompt_tokens: int
    reply_tokens: int
    cached_tokens: int
    probabilities: tuple[float, ...] = ()


Told = Piece | Finished | Exception


@dataclass(eq=False)
class Task:
    """A question with who asks, and where answers go. tell: may be called from another thread."""

    client: str
    question: Question
    tell: Callable[[Told], None]
    cancelled: threading.Event = field(default_factory=threading.Event)
    begun_s: float = field(default_factory=time.monotonic)
    waited_s: float | None = None  # for its first step
    slot: str = ""
    is_told: bool = False  # all of the answer, or an error
    state: ReplyState | None = None

    @property
    def is_choice(self) -> bool:
        """True for what takes a single step."""
        return self.question.replies is not None


@dataclass(eq=False)
class ReplyState:
    """What is there of a reply that is being written."""

    picker: Picker
    text: ReplyText
    stop: frozenset[int]
    most: int
    prompt_tokens: int
    cached_tokens: int = -1
    ids: list[int] = field(default_factory=list)
    noted: int = 0  # tokens whose probabilities were told


def choose(backend: TorchBackend, task: Task) -> None:
    """Answer a question that has a finite set of replies."""
    question, replies = task.question, task.question.replies
    assert replies is not None
    count = _fitting(backend, task, 0)
    reused = backend.decoder.prefixes.reused
    try:
        choice = backend.choose(_prompt(task), replies.scored)
    except ValueError as err:  # two replies that are the same tokens, or one that has none
        raise RefusedError(BAD_REQUEST, f"these choices cannot be told apart: {err}", "invalid_request") from err
    encoded = [(*backend.model.tokenizer.encode(text), *_end(backend)) for text in replies.scored]
    tokens: tuple[TokenText, ...] = ()
    if question.sampling.alternatives is not None:
        tokens = _choice_tokens(backend, encoded, choice.probabilities, choice.index, question.sampling.alternatives)
    task.tell(Piece(replies.told[choice.index], tokens))
    cached = backend.decoder.prefixes.reused - reused
    task.tell(Finished("stop", count, len(encoded[choice.index]), cached, choice.probabilities))


def write(backend: TorchBackend, task: Task) -> bool:
    """Write the next tokens of a reply; True if it is over."""
    state = task.state = task.state or _begin(backend, task)
    reused, before = backend.decoder.prefixes.reused, len(state.ids)
    is_over = False

    def tell(token: int) -> bool:
        nonlocal is_over
        if token in state.stop:
            is_over = True
            return False
        state.ids.append(token)
        text = state.text.push(token)
        task.tell(Piece(text, _noted(backend, state)))
        is_over = state.text.is_stopped
        return not is_over and not task.cancelled.is_set()

    left = min(SLICE, state.most - before)
    backend.continue_reply(_prompt(task), tuple(state.ids), left, state.picker, tell)
    if state.cached_tokens < 0:
        state.cached_tokens = backend.decoder.prefixes.reused - reused
    is_long = not is_over and len(state.ids) >= state.most
    if not (is_over or is_long):
        return False
    if rest := state.text.end():
        task.tell(Piece(rest))
    reason = "length" if is_long else "stop"
    task.tell(Finished(reason, state.prompt_tokens, len(state.ids), state.cached_tokens))
    return True


def _begin(backend: TorchBackend, task: Task) -> ReplyState:
    question = task.question
    count = _fitting(backend, task, question.max_tokens or 1)
    room = backend.info.max_tokens - count
    return ReplyState(
        Picker(question.sampling),
        ReplyText(backend.model.tokenizer, question.stop),
        stop_ids(backend.model, question.prompt.stop),
        min(question.max_tokens or room, room),
        count,
    )


def _fitting(backend: TorchBackend, task: Task, reply_tokens: int) -> int:
    """Return the prompt's tokens. Raises RefusedError if it and the reply are more than the model reads."""
    count, most = backend.prompt_tokens(task.question.prompt), backend.info.max_tokens
    if count + reply_tokens > most:
        raise RefusedError(
            BAD_REQUEST,
            f"the prompt has {count} tokens, max_tokens is {reply_tokens}; this model reads {most} in all",
            "context_length_exceeded",
        )
    return count


def _prompt(task: Task) -> Prompt:
    return dataclasses.replace(task.question.prompt, cache_slot=task.slot)


def _noted(backend: TorchBackend, state: ReplyState) -> tuple[TokenText, ...]:
    new = state.picker.noted[state.noted :]
    state.noted += len(new)
    return tuple(_told(backend, one) for one in new)


def _told(backend: TorchBackend, one: PickedToken) -> TokenText:
    decode = backend.model.tokenizer.decode
    others = tuple((decode([token]), logprob) for token, logprob in one.alternatives)
    return TokenText(decode([one.id]), one.logprob, others)


def _end(backend: TorchBackend) -> tuple[int, ...]:
    return tuple(backend.model.config.language.eos_token_ids[:1])


def _choice_tokens(
    backend: TorchBackend,
    encoded: Sequence[Sequence[int]],
    probabilities: Sequence[float],
    index: int,
    most: int,
) -> tuple[TokenText, ...]:
    """Return the chosen reply's tokens with their probability among the tokens that the choices allow there."""
    decode, found = backend.model.tokenizer.decode, []
    alive = list(range(len(encoded)))
    for at, token in enumerate(encoded[index][:-1] if _end(backend) else encoded[index]):
        shares: dict[int, float] = {}
        for number in alive:
            shares[encoded[number][at]] = shares.get(encoded[number][at], 0.0) + probabilities[number]
        total = math.fsum(shares.values()) or 1.0
        rows = sorted(((decode([one]), _log(share / total)) for one, share in shares.items()), key=lambda row: -row[1])
        found.append(TokenText(decode([token]), _log(shares[token] / total), tuple(rows[:most])))
        alive = [number for number in alive if encoded[number][at] == token]
    return tuple(found)


def _log(share: float) -> float:
    return math.log(share) if share > 0 else -9999.0  # as OpenAI tells what is impossible
