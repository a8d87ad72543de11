"""`vila serve` as its clients meet it: OpenAI's own client, curl, and what does not mean well."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import random
import shutil
import signal
import socket
import struct
import subprocess
import sys
import threading
import urllib.request
import zlib
from collections.abc import Iterator

import numpy as np
import psutil
import pytest

pytest.importorskip("fastapi")
pytest.importorskip("prometheus_client")
pytest.importorskip("openai")

import openai
from conftest import HANG_S
from serving import Served, data_url, image_part, picture, serving, text_part, wait_until

from vila_core.actions.grammar import SENTENCES
from vila_core.engine.backend import EMBEDDED_CHECKPOINT
from vila_core.engine.remote.backend import OpenAIBackend
from vila_core.engine.remote.config import RemoteConfig
from vila_core.errors import RemoteError
from vila_core.types import Frame, Prompt, Visual
from vila_tools.server.finite_schema import ACTIONS_SCHEMA

TOKEN, OTHER = "a-secret-of-many-letters", "another-secret-of-letters"
NANO = [text_part("Task: go to the chair\nSeen:"), *(image_part(n, tokens=4) for n in (1, 2)), text_part("\nNow:")]
NANO += [image_part(3)]


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    with serving() as one:
        yield one


@pytest.fixture(scope="module")
def client(served: Served) -> openai.OpenAI:
    return openai.OpenAI(base_url=served.url, api_key="none", max_retries=0)


def local_choice(served: Served):
    """What the same model says without a server."""
    frames = [Frame(picture(number), number, "here") for number in (1, 2, 3)]
    visuals = (Visual(frames[0], 4), Visual(frames[1], 4), Visual(frames[2]))
    text = "<s>Task: go to the chair\nSeen:<image><image>\nNow:<image>\nAct: "
    return served.backend.choose(Prompt(text, visuals, ("</s>",), "here"), SENTENCES)


# --- the form --------------------------------------------------------------------------------------


def test_the_models_are_listed(client, served):
    (card,) = client.models.list().data
    assert card.id == "vila-nano" and card.owned_by == "vila_nav"
    assert client.models.retrieve("vila-nano").model_extra["vila"]["num_frames"] == 4
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("other")


def test_a_reply_is_written(client):
    answer = client.chat.completions.create(
        model="vila-nano", messages=[{"role": "user", "content": NANO}], max_tokens=32, logprobs=True, top_logprobs=3
    )
    (choice,) = answer.choices
    assert choice.message.content in SENTENCES and choice.finish_reason == "stop"
    assert "".join(one.token for one in choice.logprobs.content) == choice.message.content
    assert all(len(one.top_logprobs) == 3 and one.logprob <= 0 for one in choice.logprobs.content)
    usage = answer.usage
    assert usage.prompt_tokens + usage.completion_tokens == usage.total_tokens
    assert usage.completion_tokens == len(choice.logprobs.content)


@pytest.mark.parametrize(
    "form",
    [
        {"structured_outputs": {"choice": list(SENTENCES)}},
        {"guided_choice": list(SENTENCES)},
        {"response_format": {"type": "json_schema", "json_schema": {"name": "action", "schema": ACTIONS_SCHEMA}}},
        {"structured_outputs": {"json": ACTIONS_SCHEMA}},
    ],
    ids=["structured_outputs", "guided_choice", "json_schema", "structured json"],
)
def test_a_choice_is_that_of_the_engine(client, served, form):
    expected = local_choice(served)
    answer = client.chat.completions.create(
        model="vila-nano", messages=[{"role": "user", "content": NANO}], extra_body=form
    )
    (choice,) = answer.choices
    wanted = SENTENCES[expected.index]
    if "guided_choice" not in form and form.get("structured_outputs", {}).get("choice") is None:
        wanted = json.dumps(ACTIONS_SCHEMA["enum"][expected.index])
    assert choice.message.content == wanted and choice.finish_reason == "stop"
    told = choice.model_extra["choice_probabilities"]
    assert told == pytest.approx(expected.probabilities, abs=1e-5)


def test_a_choice_tells_the_probabilities_of_its_tokens(served):
    status, answer = served.ask(NANO, guided_choice=list(SENTENCES), logprobs=True, top_logprobs=5)
    choice = answer["choices"][0]
    rows = choice["logprobs"]["content"]
    index = SENTENCES.index(choice["message"]["content"])
    assert status == 200
    assert sum(row["logprob"] for row in rows) == pytest.approx(np.log(choice["choice_probabilities"][index]), abs=1e-5)
    assert "".join(row["token"] for row in rows) == SENTENCES[index]


def test_a_stream_is_the_same_reply_in_pieces_and_tells_its_usage(client):
    ask = {"model": "vila-nano", "messages": [{"role": "user", "content": NANO}], "max_tokens": 32}
    whole = client.chat.completions.create(**ask)
    chunks = list(client.chat.completions.create(**ask, stream=True, stream_options={"include_usage": True}))
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert text == whole.choices[0].message.content and len(chunks) > 5
    assert chunks[-1].usage.completion_tokens == whole.usage.completion_tokens
    assert chunks[-2].choices[0].finish_reason == "stop"


def test_a_stream_comes_while_the_reply_is_written(client, served, monkeypatch):
    """The first pieces are here while the model waits for leave to write the next ones."""
    leave, engine = threading.Event(), served.backend.continue_reply
    calls = []

    def paused(*args):
        calls.append(1)
        if len(calls) == 2:
            assert leave.wait(HANG_S)
        engine(*args)

    monkeypatch.setattr(served.backend, "continue_reply", paused)
    messages = [{"role": "user", "content": "hello"}]
    stream = client.chat.completions.create(
        model="", messages=messages, max_tokens=40, stream=True, temperature=2, seed=4
    )
    pieces = [next(stream) for _ in range(10)]
    assert not leave.is_set() and all(piece.choices[0].finish_reason is None for piece in pieces)
    leave.set()
    assert list(stream)[-1].choices[0].finish_reason in ("stop", "length")


def test_the_same_seed_writes_the_same_and_slices_change_nothing(client, monkeypatch):
    def reply(seed: int) -> str:
        answer = client.chat.completions.create(
            model="", messages=[{"role": "user", "content": "a b c"}], max_tokens=60, temperature=1.5, seed=seed
        )
        return answer.choices[0].message.content

    replies = {seed: reply(seed) for seed in (1, 2, 3, 4)}
    assert len(set(replies.values())) > 1
    monkeypatch.setattr("vila_tools.server.tasks.SLICE", 3)
    assert {seed: reply(seed) for seed in replies} == replies


def test_what_ends_a_reply_is_no_part_of_it(client):
    whole = client.chat.completions.create(model="", messages=[{"role": "user", "content": NANO}], max_tokens=32)
    text = whole.choices[0].message.content
    for stop in (text[4:9], [text[10:12], "nowhere"]):
        first = stop if isinstance(stop, str) else stop[0]
        for stream in (False, True):
            answer = client.chat.completions.create(
                model="", messages=[{"role": "user", "content": NANO}], max_tokens=32, stop=stop, stream=stream
            )
            told = (
                "".join(one.choices[0].delta.content or "" for one in answer)
                if stream
                else answer.choices[0].message.content
            )
            assert told == text[: text.index(first)]


def test_max_tokens_cuts(client):
    answer = client.chat.completions.create(model="", messages=[{"role": "user", "content": NANO}], max_tokens=3)
    assert answer.choices[0].finish_reason == "length" and answer.usage.completion_tokens == 3


def test_a_conversation_goes_on_and_finds_what_was_read(served):
    first = [{"role": "user", "content": NANO}]
    _, answer = served.post({"messages": first, "max_tokens": 16})
    said = answer["choices"][0]["message"]["content"]
    more = [*first, {"role": "assistant", "content": said}, {"role": "user", "content": "and then?"}]
    status, again = served.post({"messages": more, "max_tokens": 4})
    assert status == 200
    assert again["usage"]["prompt_tokens_details"]["cached_tokens"] >= answer["usage"]["prompt_tokens"] - 8


def test_a_system_text_is_read_and_comes_first(served):
    system, user = {"role": "system", "content": "Be brief."}, {"role": "user", "content": "hello"}
    plain, told = (served.post({"messages": rows, "max_tokens": 1})[1]["usage"] for rows in ([user], [system, user]))
    assert plain["prompt_tokens"] < told["prompt_tokens"]
    assert served.post({"messages": [user, system]})[0] == 400


@pytest.mark.parametrize("frames", [None, 2, 4])
def test_a_video_of_frames_is_read(served, frames):
    urls = [data_url(picture(number)) for number in range(6)]
    part = {"type": "video", "video": urls} | ({} if frames is None else {"frames": frames})
    _, plain = served.ask("what", max_tokens=1)
    status, answer = served.ask([part, text_part("what")], max_tokens=1)
    assert status == 200
    assert answer["usage"]["prompt_tokens"] - plain["usage"]["prompt_tokens"] == 16 * (frames or 6)


def test_jpegs_with_commas_between_are_a_video(served):
    jpegs = ",".join(data_url(picture(number), "jpeg").split(",")[1] for number in range(3))
    part = {"type": "video_url", "video_url": {"url": f"data:video/jpeg;base64,{jpegs}"}, "frames": 3}
    status, answer = served.ask([part, text_part("what")], max_tokens=1)
    assert status == 200 and answer["usage"]["prompt_tokens"] > 48


def test_a_video_file_is_read(served, tmp_path):
    av = pytest.importorskip("av")
    file = tmp_path / "film.mp4"
    with av.open(str(file), "w") as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.width, stream.height = 96, 96
        for number in range(20):
            for packet in stream.encode(av.VideoFrame.from_ndarray(picture(number), format="rgb24")):
                container.mux(packet)
        for packet in stream.encode():
            container.mux(packet)
    url = f"data:video/mp4;base64,{base64.b64encode(file.read_bytes()).decode()}"
    _, plain = served.ask("what", max_tokens=1)
    for more, count in (({"frames": 5}, 5), ({"fps": 2.0, "frames": 9}, 4)):
        part = {"type": "video_url", "video_url": {"url": url}, **more}
        status, answer = served.ask([part, text_part("what")], max_tokens=1)
        assert status == 200, answer
        assert answer["usage"]["prompt_tokens"] - plain["usage"]["prompt_tokens"] == 16 * count


def test_a_picture_is_encoded_once_for_all_clients(served):
    part = image_part(77)
    served.ask([part, text_part("what")], max_tokens=1)
    misses = served.metric("vila_visual_cache_misses")
    served.ask([text_part("other words"), part], max_tokens=1)
    assert served.metric("vila_visual_cache_misses") == misses


def test_a_picture_may_be_named_once_it_was_sent(served):
    url = data_url(picture(55))
    name = "sha256:" + hashlib.sha256(base64.b64decode(url.split(",")[1])).hexdigest()
    by_name = [{"type": "image_url", "image_url": {"url": name}}, text_part("what")]
    status, answer = served.ask(by_name, max_tokens=1)
    assert status == 409 and answer["error"]["code"] == "picture_not_kept"
    _, whole = served.ask([{"type": "image_url", "image_url": {"url": url}}, text_part("what")], max_tokens=1)
    status, again = served.ask(by_name, max_tokens=1)
    assert status == 200 and again["choices"] == whole["choices"]


def test_asynchronous_clients_are_served_at_a_time(served):
    async def ask_all() -> list[str]:
        async with openai.AsyncOpenAI(base_url=served.url, api_key="none", max_retries=0) as client:

            async def one(number: int) -> str:
                stream = await client.chat.completions.create(
                    model="", messages=[{"role": "user", "content": NANO}], max_tokens=24, stream=bool(number % 2)
                )
                if number % 2:
                    return "".join([chunk.choices[0].delta.content or "" async for chunk in stream])
                return stream.choices[0].message.content

            return await asyncio.gather(*map(one, range(12)))

    replies = asyncio.run(ask_all())
    assert len(set(replies)) == 1 and replies[0] in SENTENCES


def test_who_goes_away_is_not_written_for(served, client, monkeypatch):
    monkeypatch.setattr("vila_tools.server.tasks.stop_ids", lambda *args: frozenset())  # it writes on and on
    cancelled = served.metric("vila_cancelled_total")
    messages = [{"role": "user", "content": "x"}]
    stream = client.chat.completions.create(
        model="", messages=messages, max_tokens=900, stream=True, temperature=2, seed=1
    )
    next(stream)
    stream.close()
    wait_until(lambda: served.metric("vila_cancelled_total") > cancelled)
    wait_until(lambda: served.metric("vila_requests_running") == 0)

    begun = served.metric("vila_wait_seconds_count")

    async def cancel() -> None:
        async with openai.AsyncOpenAI(base_url=served.url, api_key="none", max_retries=0) as one:
            asking = asyncio.create_task(
                one.chat.completions.create(model="", messages=messages, max_tokens=900, temperature=2, seed=1)
            )
            while served.metric("vila_wait_seconds_count") == begun:
                await asyncio.sleep(0)
            asking.cancel()
            await asyncio.gather(asking, return_exceptions=True)

    asyncio.run(cancel())
    wait_until(lambda: served.metric("vila_cancelled_total") > cancelled + 1)
    wait_until(lambda: served.metric("vila_requests_running") == 0)


def test_a_choice_does_not_wait_for_replies_that_are_written(served, client, monkeypatch):
    monkeypatch.setattr("vila_tools.server.tasks.stop_ids", lambda *args: frozenset())  # they go on and on
    messages = [{"role": "user", "content": "x"}]
    streams = [
        client.chat.completions.create(model="", messages=messages, max_tokens=900, stream=True, seed=1, temperature=2)
        for _ in range(3)
    ]
    for stream in streams:
        next(stream)
    replied = served.metric("vila_tokens_total", kind="reply")
    assert served.ask(NANO, guided_choice=list(SENTENCES))[0] == 200
    assert served.metric("vila_tokens_total", kind="reply") - replied < 900  # none of the three is over
    for stream in streams:
        stream.close()
    wait_until(lambda: served.metric("vila_requests_running") == 0)


@pytest.mark.skipif(shutil.which("curl") is None, reason="no curl")
def test_curl_is_served(served):
    body = json.dumps({"messages": [{"role": "user", "content": "hello"}], "max_tokens": 3, "stream": True})
    command = ["curl", "-sN", f"{served.url}/chat/completions", "-H", "Content-Type: application/json", "-d", body]
    out = subprocess.run(command, capture_output=True, text=True, timeout=HANG_S, check=True).stdout
    events = [line.removeprefix("data: ") for line in out.split("\n\n") if line]
    assert events[-1] == "[DONE]"
    assert [json.loads(one)["object"] for one in events[:-1]] == ["chat.completion.chunk"] * (len(events) - 1)


def test_health_and_metrics_are_told(served):
    root = served.url.removesuffix("/v1")
    assert json.loads(urllib.request.urlopen(f"{root}/health", timeout=HANG_S).read()) == {"status": "ok"}
    text = urllib.request.urlopen(f"{root}/metrics", timeout=HANG_S).read().decode()
    for name in ("vila_requests_total", "vila_tokens_total", "vila_wait_seconds_count", "vila_visual_cache_hits"):
        assert name in text


# --- what is refused -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "status", "word"),
    [
        ({"messages": []}, 400, "messages"),
        ({"model": "other"}, 404, "vila-nano"),
        ({"n": 2}, 400, "n"),
        ({"tools": [{"type": "function"}]}, 400, "tools"),
        ({"guided_regex": "a*"}, 400, "guided_regex"),
        ({"presence_penalty": 0.5}, 400, "presence_penalty"),
        ({"temperature": 3}, 400, "temperature"),
        ({"max_tokens": 0}, 400, "max_tokens"),
        ({"max_tokens": 5000}, 400, "1024"),
        ({"stop": ""}, 400, "stop"),
        ({"stop": ["x"] * 9}, 400, "stop"),
        ({"guided_choice": []}, 400, "choices"),
        ({"guided_choice": ["a", "a"]}, 400, "choices"),
        ({"guided_choice": ["a"], "guided_json": {"const": 1}}, 400, "two forms"),
        ({"structured_outputs": {"regex": "a"}}, 400, "regex"),
        ({"response_format": {"type": "json_object"}}, 400, "response_format"),
        ({"response_format": {"type": "json_schema"}}, 400, "json_schema"),
        ({"guided_json": {"type": "string"}}, 400, "finite"),
        ({"guided_json": {"enum": list(range(1000))}}, 400, "256"),
        ({"messages": [{"role": "assistant", "content": "x"}]}, 400, "turn"),
        ({"messages": [{"role": "user", "content": "<image>"}]}, 400, "<image>"),
        ({"messages": [{"role": "user", "content": [{"type": "audio"}]}]}, 400, "messages"),
        ({"messages": [{"role": "user", "content": "word " * 3000}]}, 400, "1024"),
        ({"messages": [{"role": "user", "content": "word " * 1_000_000}]}, 400, "5000000 characters"),
    ],
)
def test_what_cannot_be_done_is_refused_by_name(served, fields, status, word):
    body = {"messages": [{"role": "user", "content": "hello"}]} | fields
    found, answer = served.post(body)
    assert found == status and word in answer["error"]["message"]


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:1/a.png",
        "https://example.com/a.png",
        "file:///etc/passwd",
        "/etc/passwd",
        "data:image/png,abc",
        "data:image/png;base64,@@@@",
        "data:image/png;base64,aGVsbG8=",
        "data:text/plain;base64,aGVsbG8=",
        "sha256:../../etc/passwd",
        "",
    ],
)
def test_no_url_but_a_picture_is_read(served, url):
    for part in (
        {"type": "image_url", "image_url": {"url": url}},
        {"type": "video_url", "video_url": {"url": url}},
        {"type": "video", "video": [url]},
    ):
        status, answer = served.ask([part])
        assert status in (400, 409) and answer["error"]["message"]


def png_of(width: int, height: int, packed: bytes) -> str:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    data = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", packed) + chunk(b"IEND", b"")
    return f"data:image/png;base64,{base64.b64encode(data).decode()}"


def test_large_pictures_and_bombs_are_refused_before_they_are_unpacked(served):
    bomb = zlib.compress(bytes(1 << 24), 9) * 4
    before = psutil.Process().memory_info().rss
    for width, height in ((20_000, 20_000), (20_000, 1000), (65_500, 65_500), (1 << 30, 1 << 30)):
        status, answer = served.ask([{"type": "image_url", "image_url": {"url": png_of(width, height, bomb)}}])
        assert status == 400 and answer["error"]["code"] == "invalid_media"
    assert psutil.Process().memory_info().rss - before < 200 << 20
    small = png_of(64, 64, bomb)  # small by its head, large by its data
    assert served.ask([{"type": "image_url", "image_url": {"url": small}}])[0] in (200, 400)


def test_a_large_body_is_refused(served):
    status, answer = served.post(b"[" * ((32 << 20) + 1))
    assert status == 413 and "33554432" in answer["error"]["message"]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b"[" * 100_000,
        b'{"messages":' * 10_000,
        b'{"messages": NaN}',
        b"\xff\xfe{}",
        b'"\\ud800"',
    ],
)
def test_what_is_no_request_is_refused(served, body):
    assert served.post(body)[0] == 400


def test_mangled_requests_are_refused_and_never_an_error_of_ours(served):
    rng = random.Random(7)
    good = json.dumps(
        {
            "model": "vila-nano",
            "messages": [{"role": "user", "content": [text_part("go"), image_part(1)]}],
            "max_tokens": 2,
            "guided_json": {"type": "object", "properties": {"a": {"enum": [1, 2]}}, "required": ["a"]},
            "stop": ["x"],
            "temperature": 0.5,
        }
    )
    words = ["null", "{}", "[]", "-1", "1e999", '"\\u0000"', "true", '"a"', "9" * 400, "[[[]]]", '{"type":"text"}']
    seen = set()
    for _ in range(150):
        text = list(good)
        for _ in range(rng.randint(1, 4)):
            at, size = rng.randrange(len(text)), rng.choice([0, 1, 1, 7])
            text[at : at + size] = rng.choice([*words, "", chr(rng.randrange(32, 127))])
        status, _ = served.post("".join(text).encode())
        seen.add(status)
    assert seen <= {200, 400, 404, 409} and 400 in seen
    assert served.ask("hello", max_tokens=1)[0] == 200


# --- who may ask, and how much ---------------------------------------------------------------------


def test_a_token_is_asked_for_and_another_name_or_page_refused():
    with serving({"robot": TOKEN, "desk": OTHER}) as guarded:
        body = {"messages": [{"role": "user", "content": "x"}], "max_tokens": 1}
        assert guarded.post(body)[0] == 401
        assert guarded.post(body, authorization="Bearer wrong")[0] == 401
        assert guarded.post(body, authorization=f"Bearer {TOKEN}")[0] == 200
        assert guarded.post(body, authorization=f"bearer {OTHER}")[0] == 200
        assert guarded.post(body, authorization=f"Bearer {TOKEN}", host="evil.example")[0] == 421
        assert guarded.post(body, authorization=f"Bearer {TOKEN}", origin="http://evil.example")[0] == 403
        with pytest.raises(openai.AuthenticationError):
            openai.OpenAI(base_url=guarded.url, api_key="wrong", max_retries=0).models.list()


def test_one_request_too_many_is_refused_at_once_and_others_are_served(monkeypatch):
    tokens = {"robot": TOKEN, "desk": OTHER}
    with serving(tokens, max_requests=5, max_requests_each=3) as guarded:
        go_on, engine = threading.Event(), guarded.backend.choose

        def paused(*args):
            assert go_on.wait(HANG_S)
            return engine(*args)

        monkeypatch.setattr(guarded.backend, "choose", paused)
        body = {"messages": [{"role": "user", "content": "x"}], "guided_choice": ["a b", "c d"]}
        found: list[int] = []

        def ask(token: str) -> None:
            found.append(guarded.post(body, authorization=f"Bearer {token}")[0])

        threads = [threading.Thread(target=ask, args=(TOKEN,)) for _ in range(3)]
        for thread in threads:
            thread.start()
        wait_until(lambda: guarded.metric("vila_requests_running") == 3)
        status, answer = guarded.post(body, authorization=f"Bearer {TOKEN}")
        assert status == 429 and "your" in answer["error"]["message"]
        threads += [threading.Thread(target=ask, args=(OTHER,)) for _ in range(2)]
        for thread in threads[3:]:
            thread.start()
        wait_until(lambda: guarded.metric("vila_requests_running") == 5)
        assert guarded.post(body, authorization=f"Bearer {OTHER}")[0] == 429
        go_on.set()
        for thread in threads:
            thread.join(60)
        assert found == [200] * 5
        assert guarded.metric("vila_requests_running") == 0 and guarded.metric("vila_body_bytes") == 0


def test_slow_clients_are_cut_off_and_others_served_meanwhile(monkeypatch):
    monkeypatch.setattr("vila_tools.server.slow_clients._HEAD_S", 0.5)
    with serving(body_timeout_s=0.5) as patient:
        head = b"POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\ncontent-length: 100\r\n"
        begun = [b"", b"P", head, head + b"\r\n", head + b"\r\n{"]
        connections = []
        for sent in begun * 4:
            one = socket.create_connection(("127.0.0.1", patient.port), timeout=HANG_S)
            one.sendall(sent)
            connections.append(one)
        assert patient.ask("hello", max_tokens=1)[0] == 200
        for one in connections:
            while one.recv(4096):
                pass
            one.close()
        assert patient.ask("hello", max_tokens=1)[0] == 200
        assert patient.metric("vila_requests_running") == 0


def test_who_does_not_take_what_he_is_sent_is_cut_off():
    with serving(stall_timeout_s=0.3, max_requests_each=64) as patient:
        one = socket.socket()
        one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        one.settimeout(60)
        one.connect(("127.0.0.1", patient.port))
        body = json.dumps(
            {
                "messages": [{"role": "user", "content": "x"}],
                "max_tokens": 1000,
                "stream": True,
                "logprobs": True,
                "top_logprobs": 20,
                "temperature": 2,
                "seed": 3,
                "stop": [],
            }
        ).encode()
        head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\ncontent-length: {len(body)}\r\n\r\n".encode()
        one.sendall(head + body)
        wait_until(lambda: patient.metric("vila_requests_running") == 1)
        wait_until(lambda: patient.metric("vila_requests_running") == 0)
        one.close()
        assert patient.ask("hello", max_tokens=1)[0] == 200


def test_a_fault_of_the_engine_is_one_request_s_own(served, monkeypatch):
    def fail(*args):
        raise RuntimeError("a bug")

    with monkeypatch.context() as patched:
        patched.setattr(served.backend, "continue_reply", fail)
        status, answer = served.ask("hello", max_tokens=2)
    assert status == 500 and "bug" not in answer["error"]["message"]
    assert served.ask("hello", max_tokens=2)[0] == 200


@pytest.mark.slow
@pytest.mark.parametrize(
    ("number", "status"), [(signal.SIGTERM, 143), pytest.param(signal.SIGINT, 130, marks=pytest.mark.long)]
)
def test_the_program_serves_until_a_signal_and_tells_what_it_answered(number, status, tmp_path):
    command = [sys.executable, "-m", "vila_tools.cli", "serve", str(EMBEDDED_CHECKPOINT), "--port", "0"]
    with subprocess.Popen([*command, "--generate-token"], stdout=subprocess.PIPE, text=True) as process:
        address = process.stdout.readline().split()[-1]
        token = process.stdout.readline().split()[-1]
        client = openai.OpenAI(base_url=address, api_key=token, max_retries=0)
        client.chat.completions.create(model="", messages=[{"role": "user", "content": "x"}], max_tokens=2)
        process.send_signal(number)
        told = process.stdout.read()
        assert process.wait(HANG_S) == status
    assert json.loads(told.splitlines()[-1])["requests"] == {"200": 1}


@pytest.mark.slow
def test_https_is_served_with_a_certificate(tmp_path):
    if shutil.which("openssl") is None:
        pytest.skip("no openssl")
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    words = f"req -x509 -newkey rsa:2048 -nodes -keyout {key} -out {cert} -days 2 -subj /CN=localhost"
    more = ["-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"]
    subprocess.run(["openssl", *words.split(), *more], check=True, capture_output=True, timeout=HANG_S)
    command = [sys.executable, "-m", "vila_tools.cli", "serve", str(EMBEDDED_CHECKPOINT), "--port", "0"]
    command += ["--tls-cert", str(cert), "--tls-key", str(key)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        address = process.stdout.readline().split()[-1]
        assert address.startswith("https://")
        backend = OpenAIBackend(RemoteConfig(address, ca_file=str(cert), timeout_s=30.0))
        assert backend.generate(Prompt("x"), 3)
        backend.close()
        with pytest.raises(RemoteError):
            OpenAIBackend(RemoteConfig(address, timeout_s=30.0))
        process.terminate()
