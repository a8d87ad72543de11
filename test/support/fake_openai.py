"""A server of the OpenAI form that answers as a test says: what a model elsewhere may do."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from vila_core.actions.grammar import SENTENCES

Answer = Callable[["Handler"], None]


class Handler(BaseHTTPRequestHandler):
    """Answers as the test says, and notes what was asked."""

    protocol_version = "HTTP/1.1"
    server: Fake

    def do_GET(self) -> None:
        self.send_json({"object": "list", "data": self.server.cards})

    def do_POST(self) -> None:
        self.body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        self.server.asked.append(self.body)
        self.server.tokens.append(self.headers.get("authorization"))
        self.server.answer(self)

    def send_json(self, data: object, status: int = 200) -> None:
        self.send_bytes(json.dumps(data).encode(), status)

    def send_bytes(self, data: bytes, status: int = 200, length: int | None = None) -> None:
        self.send_response(status)
        self.send_header("content-length", str(len(data) if length is None else length))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *args: object) -> None:
        pass


class Fake(ThreadingHTTPServer):
    """A server of the OpenAI form that is not ours. answer: to each question."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.cards: list[dict[str, Any]] = [{"id": "nvila", "object": "model", "owned_by": "sglang"}]
        self.asked: list[dict[str, Any]] = []
        self.tokens: list[str | None] = []
        self.answer: Answer = reply(SENTENCES[1])
        self.over = threading.Event()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/v1"


def completion(text: object, tokens: list[dict[str, Any]] | None = None, **fields: object) -> dict[str, Any]:
    if tokens is None:
        tokens = [{"token": text, "logprob": -0.1, "top_logprobs": [{"token": text, "logprob": -0.1}]}]
    choice = {"index": 0, "message": {"content": text}, "finish_reason": "stop", "logprobs": {"content": tokens}}
    return {"model": "nvila", "choices": [choice]} | fields


def reply(text: object, **fields: object) -> Answer:
    return lambda handler: handler.send_json(completion(text, **fields))


@contextmanager
def faking() -> Iterator[Fake]:
    server = Fake()
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    try:
        yield server
    finally:
        server.over.set()
        server.shutdown()
        server.server_close()
