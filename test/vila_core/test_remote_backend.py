"""A model elsewhere: whatever a server does, there is a choice or a typed hold, within the time."""

from __future__ import annotations

import json
import math
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fake_openai import Answer, Fake, Handler, completion, faking, reply

from vila_core.actions.grammar import SENTENCES
from vila_core.config import HistoryConfig, NavigatorConfig
from vila_core.engine.backend import load_backend
from vila_core.engine.remote.backend import OpenAIBackend
from vila_core.engine.remote.config import RemoteConfig, read_remote_config
from vila_core.engine.remote.logprobs import Token, reply_probabilities
from vila_core.engine.remote.sent_pictures import SentPictures
from vila_core.errors import (
    BackendError,
    CheckpointError,
    ConfigError,
    RemoteBusyError,
    RemoteError,
    RemoteModelError,
    RemoteRefusedError,
    RemoteReplyError,
    RemoteTimeoutError,
    RemoteUnreachableError,
    ReplyError,
    VilaError,
)
from vila_core.navigator import Navigator
from vila_core.types import Frame, HoldReason, Instruction, Odometry, Pose, Prompt, Visual

HANG_S = 60.0


@pytest.fixture
def fake() -> Iterator[Fake]:
    with faking() as server:
        yield server


@contextmanager
def asking(fake: Fake, **values: Any) -> Iterator[OpenAIBackend]:
    backend = OpenAIBackend(RemoteConfig(base_url=fake.url, **({"timeout_s": 20.0} | values)))
    try:
        yield backend
    finally:
        backend.close()


def prompt(count: int = 1, first: int = 0) -> Prompt:
    frames = [Frame(np.full((24, 32, 3), number, np.uint8), number) for number in range(first, first + count)]
    return Prompt("go" + "<image>" * count + "next", tuple(Visual(frame) for frame in frames))


# --- what is asked ---------------------------------------------------------------------------------


def test_a_question_is_texts_and_pictures_in_order(fake):
    with asking(fake, token_env="") as backend:
        choice = backend.choose(prompt(2), SENTENCES)
    assert choice.index == 1 and choice.probabilities[1] == pytest.approx(1.0)
    (asked,) = fake.asked
    parts = asked["messages"][0]["content"]
    assert [part["type"] for part in parts] == ["text", "image_url", "image_url", "text"]
    assert all(part["image_url"]["url"].startswith("data:image/png;base64,") for part in parts[1:3])
    assert asked["model"] == "nvila" and asked["temperature"] == 0
    assert asked["regex"].startswith("(I\\ think")  # SGLang's grammar, by the card's owner


@pytest.mark.parametrize(
    ("structured", "field"),
    [
        ("structured_outputs", "structured_outputs"),
        ("guided_choice", "guided_choice"),
        ("regex", "regex"),
        ("json_schema", "response_format"),
        ("none", None),
    ],
)
def test_each_server_is_told_the_replies_in_its_own_way(fake, structured, field):
    written = json.dumps(SENTENCES[2]) if structured == "json_schema" else SENTENCES[2]
    fake.answer = reply(written)
    with asking(fake, structured=structured) as backend:
        assert backend.choose(prompt(), SENTENCES).index == 2
    known = {"structured_outputs", "guided_choice", "regex", "response_format"}
    assert known & set(fake.asked[0]) == ({field} if field else set())


def test_the_token_is_shown(fake, tmp_path, monkeypatch):
    file = tmp_path / "token"
    file.write_text("a-secret-of-many-letters\n")
    with asking(fake, token_file=str(file)) as backend:
        backend.generate(prompt(), 5)
    monkeypatch.setenv("SOME_TOKEN", "another")
    with asking(fake, token_env="SOME_TOKEN") as backend:
        backend.generate(prompt(), 5)
    assert fake.tokens == ["Bearer a-secret-of-many-letters", "Bearer another"]


def test_others_than_ours_are_sent_all_pictures_each_time_and_no_averages(fake):
    with asking(fake) as backend:
        for _ in range(2):
            backend.choose(prompt(2), SENTENCES)
        assert backend.cache_counts().hits == 0
        averaged = Prompt("<image>", (Visual(prompt().visuals[0].frame, 4),))
        with pytest.raises(BackendError, match=r"history\.policy"):
            backend.choose(averaged, SENTENCES)


def test_large_pictures_are_jpeg(fake):
    large = Prompt("<image>", (Visual(Frame(np.zeros((480, 640, 3), np.uint8), 1)),))
    with asking(fake) as backend:
        assert backend.encode(large.visuals[0].frame) and not backend.encode(large.visuals[0].frame)
        backend.choose(large, SENTENCES)
    assert fake.asked[0]["messages"][0]["content"][0]["image_url"]["url"].startswith("data:image/jpeg")


def test_what_arrived_is_named_and_what_may_not_have_is_sent_again():
    pictures = SentPictures("auto", are_kept=True)
    first, second = (visual.frame for visual in prompt(2).visuals)
    whole, named = pictures.url(first), pictures.url(first)
    assert whole.startswith("data:image/png") and named.startswith("sha256:")  # twice in one question
    pictures.confirm()
    assert pictures.url(first) == named and pictures.url(second).startswith("data:")
    pictures.abandon()  # refused for lack of room, or no answer
    assert pictures.url(first) == named and pictures.url(second).startswith("data:")
    pictures.forget()  # the server does not have one of them
    assert pictures.url(first) == pictures.url(first) == whole
    pictures.confirm()
    assert pictures.url(first) == named


# --- what may come back ----------------------------------------------------------------------------


def cut(handler: Handler) -> None:
    handler.send_bytes(b'{"choices": [', length=1000)
    handler.close_connection = True


def drop(handler: Handler) -> None:
    handler.close_connection = True
    handler.connection.shutdown(socket.SHUT_RDWR)


def trickle(handler: Handler) -> None:
    handler.send_response(200)
    handler.send_header("content-length", "100000")
    handler.end_headers()
    while not handler.server.over.wait(0.02):
        try:
            handler.wfile.write(b" ")
        except OSError:
            return


def silence(handler: Handler) -> None:
    handler.server.over.wait(HANG_S)


def garbage(handler: Handler) -> None:
    handler.wfile.write(b"\x00\x01\x02 nonsense\r\n\r\n")
    handler.close_connection = True


def status(number: int, body: object = None) -> Answer:
    return lambda handler: handler.send_json(body if body is not None else {"error": {"message": "no"}}, number)


SURE = {"index": 0, "message": {"content": SENTENCES[1]}, "finish_reason": "stop"}
WRONG: list[tuple[str, Answer, type[VilaError]]] = [
    ("silence", silence, RemoteTimeoutError),
    ("trickle", trickle, RemoteTimeoutError),
    ("cut", cut, RemoteReplyError),
    ("dropped", drop, RemoteUnreachableError),
    ("garbage", garbage, RemoteReplyError),
    ("429", status(429), RemoteBusyError),
    ("503 without JSON", lambda handler: handler.send_bytes(b"down", 503), RemoteBusyError),
    ("500", status(500), RemoteRefusedError),
    ("401", status(401), RemoteRefusedError),
    ("302", status(302, {}), RemoteRefusedError),
    ("400 of a list", status(400, [1]), RemoteRefusedError),
    ("no JSON", lambda handler: handler.send_bytes(b"<html>"), RemoteReplyError),
    ("deep JSON", lambda handler: handler.send_bytes(b"[" * 100_000), RemoteReplyError),
    ("a list", lambda handler: handler.send_json([]), RemoteReplyError),
    ("no choices", lambda handler: handler.send_json({"model": "nvila"}), RemoteReplyError),
    ("two choices", lambda handler: handler.send_json({"model": "nvila", "choices": [SURE, SURE]}), RemoteReplyError),
    ("no text", reply(None, tokens=[]), RemoteReplyError),
    ("another model", reply(SENTENCES[1], model="other"), RemoteModelError),
    ("no sentence", reply("go left, I think"), ReplyError),
    ("a sentence and more", reply(SENTENCES[1] + " Or stop."), ReplyError),
    ("empty", reply(""), ReplyError),
    ("cut reply", reply(SENTENCES[1], choices=[SURE | {"finish_reason": "length"}]), RemoteReplyError),
    ("no logprobs", reply(SENTENCES[1], choices=[SURE]), BackendError),
    (
        "logprobs of another text",
        reply(SENTENCES[1], tokens=[{"token": "x", "logprob": -1.0}]),
        RemoteReplyError,
    ),
    ("NaN", reply(SENTENCES[1], tokens=[{"token": SENTENCES[1], "logprob": math.nan}]), RemoteReplyError),
    ("no numbers", reply(SENTENCES[1], tokens=[{"token": SENTENCES[1], "logprob": None}]), RemoteReplyError),
    (
        "too few probabilities",
        reply(SENTENCES[1], choices=[SURE | {"choice_probabilities": [1.0]}]),
        RemoteReplyError,
    ),
    (
        "probabilities above 1",
        reply(SENTENCES[1], choices=[SURE | {"choice_probabilities": [1.0] * 10}]),
        RemoteReplyError,
    ),
]


@pytest.mark.parametrize(("answer", "error"), [row[1:] for row in WRONG], ids=[row[0] for row in WRONG])
def test_whatever_goes_wrong_is_a_typed_hold_and_the_next_question_is_answered(fake, answer, error):
    now = [10**9]
    config = RemoteConfig(base_url=fake.url, timeout_s=0.5 if error is RemoteTimeoutError else 20.0)
    backend = OpenAIBackend(config)
    navigator = Navigator(backend, NavigatorConfig(reply="choice"), HistoryConfig(), clock=lambda: now[0])
    navigator.start(Instruction("go to the chair"))
    navigator.observe(Frame(np.zeros((24, 32, 3), np.uint8), now[0]), Odometry(now[0], Pose()))
    fake.answer = answer
    decision = navigator.decide(now[0])
    assert decision.action is None and decision.detail.startswith(error.__name__), decision
    expected = HoldReason.UNPARSEABLE_REPLY if error is ReplyError else HoldReason.BACKEND_ERROR
    assert decision.hold is expected
    fake.answer = reply(SENTENCES[1])
    deadline = time.monotonic() + HANG_S
    while navigator.decide(now[0]).action is None:  # the thread that hung may need a moment
        assert time.monotonic() < deadline
    backend.close()


def test_nobody_waits_longer_than_the_deadline_for_all_of_it(fake):
    fake.answer = trickle
    with asking(fake, timeout_s=0.4) as backend:
        began = time.monotonic()
        with pytest.raises(RemoteTimeoutError):
            backend.choose(prompt(), SENTENCES)
        assert time.monotonic() - began < HANG_S / 2


def test_a_connection_that_was_idle_too_long_is_opened_again(fake):
    def once(handler: Handler) -> None:
        handler.send_json(completion(SENTENCES[1]))
        handler.close_connection = True

    fake.answer = once
    with asking(fake) as backend:
        for _ in range(3):
            assert backend.choose(prompt(), SENTENCES).index == 1


def test_another_model_behind_the_same_name_is_found_by_its_fingerprint(fake):
    fake.answer = reply(SENTENCES[1], system_fingerprint="fp_a")
    with asking(fake) as backend:
        backend.choose(prompt(), SENTENCES)
        for other in (reply(SENTENCES[1], system_fingerprint="fp_b"), reply(SENTENCES[1])):
            fake.answer = other
            with pytest.raises(RemoteModelError, match="fingerprint"):
                backend.choose(prompt(), SENTENCES)


def test_where_nothing_is_nothing_answers():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        with pytest.raises(RemoteUnreachableError, match=str(port)):
            OpenAIBackend(RemoteConfig(base_url=f"http://127.0.0.1:{port}/v1", timeout_s=20.0))
        with pytest.raises(RemoteError):
            OpenAIBackend(RemoteConfig(base_url=f"https://127.0.0.1:{port}/v1", timeout_s=20.0))


@pytest.mark.parametrize(
    ("cards", "model", "error"),
    [
        ([], "", RemoteModelError),
        ([{"id": "a"}, {"id": "b"}], "", RemoteModelError),
        ([{"id": "a"}], "b", RemoteModelError),
        ([{"name": "a"}], "", RemoteReplyError),
        ("x", "", RemoteReplyError),
        ([{"id": "a", "owned_by": "vila_nav", "vila": {"num_frames": 4}}], "", RemoteReplyError),
    ],
)
def test_the_model_must_be_known_there(fake, cards, model, error):
    fake.cards = cards
    with pytest.raises(error):
        OpenAIBackend(RemoteConfig(base_url=fake.url, model=model, timeout_s=20.0))


def test_what_it_cannot_do_is_said_and_closed_is_closed(fake):
    with asking(fake) as backend:
        with pytest.raises(BackendError, match="relevance"):
            backend.relevance("x", [])
        backend.prefill(prompt())
        backend.close()
        for work in (lambda: backend.choose(prompt(), SENTENCES), lambda: backend.generate(prompt(), 3)):
            with pytest.raises(BackendError, match="closed"):
                work()


# --- the file --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("base_url: ftp://x", "base_url"),
        ("base_url: http://", "base_url"),
        ("base_url: http://user:secret@x/v1", "base_url"),
        ("base_url: http://x:99999999/v1", "base_url"),
        ("model: a", "base_url"),
        ("base_url: http://x/v1\ntimeout_s: 0", "timeout_s"),
        ("base_url: http://x/v1\nstructured: magic", "structured"),
        ("base_url: http://x/v1\nother: 1", "other"),
        ("base_url: http://x/v1\ntoken_file: a\ntoken_env: B", "token_env"),
        ("- a", "no keys"),
        ("a: [", "YAML"),
    ],
)
def test_a_wrong_file_is_named_with_what_is_wrong(tmp_path, text, word):
    file = tmp_path / "remote.yaml"
    file.write_text(text)
    with pytest.raises((CheckpointError, ConfigError), match=word) as raised:
        load_backend("openai", file)
    assert "remote.yaml" in str(raised.value) and "\n" not in str(raised.value)


def test_a_file_is_read(tmp_path, monkeypatch):
    file = tmp_path / "remote.yaml"
    file.write_text("base_url: http://10.0.0.5:8000/v1\nmodel: m\ntimeout_s: 2\ntoken_env: T\n")
    config = read_remote_config(file)
    assert (config.model, config.timeout_s) == ("m", 2.0)
    with pytest.raises(ConfigError, match="'T'"):
        config.token()
    monkeypatch.setenv("T", "x")
    assert config.token() == "x"
    with pytest.raises(CheckpointError, match="directory"):
        read_remote_config(Path(tmp_path))


# --- probabilities ---------------------------------------------------------------------------------


def test_probabilities_come_from_the_tokens_where_replies_part():
    replies = ("a left 1", "a left 2", "a right 1", "b")
    tokens = [
        Token("a ", math.log(0.6), (("a ", math.log(0.6)), ("b", math.log(0.2)), ("zebra", math.log(0.2)))),
        Token("left ", math.log(0.5), (("left ", math.log(0.5)), ("ri", math.log(0.5)))),
        Token("2", math.log(0.8), (("2", math.log(0.8)), ("1", math.log(0.2)))),
    ]
    found = reply_probabilities(tokens, replies, 1)
    assert found == pytest.approx((0.75 * 0.5 * 0.2, 0.75 * 0.5 * 0.8, 0.75 * 0.5, 0.25))


def test_replies_that_nothing_tells_of_share_what_their_group_has():
    tokens = [Token("x", math.log(0.5), (("y", math.log(0.5)),)), Token("1", 0.0)]
    assert reply_probabilities(tokens, ("x1", "ya", "yb"), 0) == pytest.approx((0.5, 0.25, 0.25))
    assert reply_probabilities([Token("x1", math.log(0.9))], ("x1", "y"), 0) == (1.0, 0.0)
    for tokens in ([Token("y", 0.0)], [Token("x", math.nan)]):
        with pytest.raises(ValueError):
            reply_probabilities(tokens, ("x", "z"), 0)
