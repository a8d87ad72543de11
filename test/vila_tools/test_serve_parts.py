"""The parts of `vila serve` that need no model: turns, texts, schemas."""

from __future__ import annotations

import json

import pytest

pytest.importorskip("pydantic")

from hypothesis import given
from hypothesis import strategies as st

from vila_core.actions.grammar import SENTENCES
from vila_core.errors import ConfigError
from vila_core.web.tokens import first_token, named_tokens
from vila_tools.cli import main
from vila_tools.server.errors import RefusedError
from vila_tools.server.fair_queue import Admission, FairQueue
from vila_tools.server.finite_schema import ACTIONS_SCHEMA, choices_of_schema, sentences_of_actions
from vila_tools.server.limits import Limits
from vila_tools.server.pictures import PictureStore
from vila_tools.server.reply_text import ReplyText
from vila_tools.server.worker import CacheSlots


class Bytes:
    """A tokenizer whose tokens are bytes."""

    def decode(self, ids):
        return bytes(ids).decode("utf-8", "replace")


def test_who_sends_much_waits_for_himself():
    queue: FairQueue[str] = FairQueue()
    for client, item in (("a", "a1"), ("a", "a2"), ("a", "a3"), ("b", "b1"), ("c", "c1"), ("b", "b2")):
        queue.put(client, item)
    assert [queue.get() for _ in range(7)] == ["a1", "b1", "c1", "a2", "b2", "a3", None]
    assert len(queue) == 0


@given(st.lists(st.sampled_from("abcd")))
def test_no_client_gets_two_turns_while_another_waits(clients):
    queue: FairQueue[str] = FairQueue()
    for client in clients:
        queue.put(client, client)
    left, last_turn = {client: clients.count(client) for client in clients}, {}
    for turn in range(len(clients)):
        client = queue.get()
        others = [other for other in left if other != client and left[other]]
        assert all(last_turn.get(other, -1) >= last_turn.get(client, -1) - len(left) for other in others)
        if client in last_turn:
            assert all(last_turn.get(other, -1) > last_turn[client] for other in others)
        last_turn[client] = turn
        left[client] -= 1


def test_who_is_let_in_is_counted():
    admission = Admission(3, 2)
    assert [admission.enter("a"), admission.enter("a")] == ["", ""]
    assert "your" in admission.enter("a") and admission.enter("b") == ""
    assert "3 requests" in admission.enter("c")
    admission.leave("a")
    assert admission.enter("c") == "" and admission.count == 3


def test_a_client_gets_its_slot_again_and_two_tasks_never_one():
    slots = CacheSlots()
    first, second = slots.take("a"), slots.take("b")
    assert first != second
    slots.give(first)
    slots.give(second)
    assert slots.take("b") == second and slots.take("a") == first
    assert slots.take("a") not in (first, second)


@given(st.text(max_size=40), st.lists(st.text(min_size=1, max_size=4), max_size=3))
def test_pieces_of_a_reply_are_the_reply_up_to_its_first_stop(text, stops):
    reply, told = ReplyText(Bytes(), stops), ""
    for byte in text.encode("utf-8", "replace"):
        told += reply.push(byte)
        if reply.is_stopped:
            break
    told += reply.end()
    whole = text.encode("utf-8", "replace").decode()
    ends = {stop: at + len(stop) for stop in stops if (at := whole.find(stop)) >= 0}
    if not ends:
        assert told == whole and not reply.is_stopped
    else:
        first = min(ends.values())  # the stop that is whole first
        assert reply.is_stopped and told in {whole[: whole.find(stop)] for stop, end in ends.items() if end == first}


def test_what_may_become_a_stop_is_held_back():
    reply = ReplyText(Bytes(), ["</s>"])
    assert [reply.push(byte) for byte in b"a</b"] == ["a", "", "", "</b"]
    assert [reply.push(byte) for byte in b"</s>"] == ["", "", "", ""] and reply.is_stopped


def test_the_ten_actions_are_sentences():
    texts = choices_of_schema(ACTIONS_SCHEMA)
    assert sentences_of_actions(texts) == SENTENCES
    assert json.loads(texts[1]) == {"action": "move_forward", "distance_cm": 25}
    again = {"oneOf": [{"const": json.loads(text)} for text in texts]}
    assert sentences_of_actions(choices_of_schema(again)) == SENTENCES
    turns = {
        "type": "object",
        "properties": {"action": {"enum": ["turn_left", "turn_right"]}, "angle_deg": {"enum": [15, 30, 45]}},
        "required": ["action", "angle_deg"],
        "additionalProperties": False,
    }
    assert sentences_of_actions(choices_of_schema(turns)) == SENTENCES[4:]
    assert sentences_of_actions(('{"action": "jump"}',)) is None


@pytest.mark.parametrize(
    ("schema", "texts"),
    [
        ({"const": "a"}, ['"a"']),
        ({"type": "string", "enum": ["a", "b"]}, ['"a"', '"b"']),
        ({"type": "boolean"}, ["false", "true"]),
        ({"anyOf": [{"type": "null"}, {"const": 3}]}, ["null", "3"]),
    ],
)
def test_finite_schemas(schema, texts):
    assert list(choices_of_schema(schema)) == texts


def deep(levels: int) -> dict:
    return {"const": 1} if not levels else {"anyOf": [deep(levels - 1)]}


@pytest.mark.parametrize(
    "schema",
    [
        {},
        {"type": "string"},
        {"enum": "ab"},
        {"enum": []},
        {"enum": [1, 1]},
        {"enum": list(range(300))},
        {"const": 1, "minLength": 3},
        {"oneOf": 3},
        {"$ref": "#/definitions/a"},
        {"type": "object", "properties": {"a": {"const": 1}}},
        {"type": "object", "properties": {chr(97 + n): {"enum": list(range(9))} for n in range(9)}},
        deep(50),
    ],
)
def test_other_schemas_are_refused(schema):
    with pytest.raises(RefusedError, match="finite set"):
        choices_of_schema(schema)


def test_pictures_are_kept_as_far_as_there_is_room():
    store = PictureStore(250)
    names = [store.put(bytes([number]) * 100) for number in range(3)]
    assert store.bytes == 200 and store.get(names[2]) == bytes([2]) * 100
    with pytest.raises(RefusedError, match="send it whole"):
        store.get(names[0])
    assert PictureStore(0).put(b"abc").startswith("sha256:")


def test_tokens_have_names(tmp_path):
    file = tmp_path / "tokens"
    file.write_text(f"# robots\nkitchen {'a' * 20}\n\n{'b' * 20}\n")
    assert named_tokens(file) == {"kitchen": "a" * 20, "line 4": "b" * 20}
    for text in ("short", f"a {'a' * 20}\na {'b' * 20}", f"{'a' * 20}\nx {'a' * 20}", f"a b {'c' * 20}", "# none\n"):
        file.write_text(text)
        with pytest.raises(ConfigError, match=str(file)):
            named_tokens(file)
    file.write_text("b" * 20 + "\nanything")
    assert first_token(file) == "b" * 20


@pytest.mark.parametrize("values", [{"max_requests": 0}, {"max_body_mb": 10**6}, {"stall_timeout_s": 0.0}])
def test_limits_have_bounds(values):
    with pytest.raises(ConfigError, match=next(iter(values))):
        Limits(**values)


@pytest.mark.parametrize(
    ("options", "word"),
    [
        (["--host", "0.0.0.0"], "--token-file"),
        (["--host", "no.such.name.invalid"], "--token-file"),
        (["--token-file", "/nowhere"], "/nowhere"),
        (["--token-file", "x", "--generate-token"], "leave one out"),
        (["--tls-cert", "x"], "tls"),
        (["--max-requests", "0"], "max_requests"),
    ],
)
def test_bad_options_are_one_line(options, word, capsys):
    from vila_core.engine.backend import EMBEDDED_CHECKPOINT

    assert main(["serve", str(EMBEDDED_CHECKPOINT), "--port", "0", *options]) == 2
    told = capsys.readouterr()
    assert word in told.err and len(told.err.splitlines()) == 1 and not told.out


def test_a_port_that_is_taken_is_named(capsys):
    from vila_core.engine.backend import EMBEDDED_CHECKPOINT
    from vila_core.web.listening import listen_at

    with listen_at("127.0.0.1", 0, "a test") as taken:
        port = str(taken.getsockname()[1])
        assert main(["serve", str(EMBEDDED_CHECKPOINT), "--port", port]) == 2
    assert port in capsys.readouterr().err


def test_a_missing_library_is_answered_with_the_extra(monkeypatch, capsys):
    import sys

    from vila_core.engine.backend import EMBEDDED_CHECKPOINT

    monkeypatch.setitem(sys.modules, "prometheus_client", None)
    for name in [name for name in sys.modules if name.startswith("vila_tools.server.")]:
        monkeypatch.delitem(sys.modules, name)
    assert main(["serve", str(EMBEDDED_CHECKPOINT), "--port", "0"]) == 2
    assert "vila-nav[server]" in capsys.readouterr().err
