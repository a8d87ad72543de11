"""A `vila serve` in this process, for tests: vila-nano behind a port that is free."""

from __future__ import annotations

import asyncio
import base64
import io
import json
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from PIL import Image

from vila_core.engine.backend import EMBEDDED_CHECKPOINT, load_backend
from vila_core.web.access import Access
from vila_core.web.listening import listen_at
from vila_tools.server.limits import Limits
from vila_tools.server.run import fingerprint_of
from vila_tools.server.service import Server

HANG_S = 60.0


class Served:
    """A running server and what was asked of its model."""

    def __init__(self, tokens: dict[str, str] | None = None, host: str = "127.0.0.1", **limits: Any) -> None:
        self.backend = load_backend("torch", EMBEDDED_CHECKPOINT, check_memory=False)
        access = Access(host, "", tokens or {}, time.monotonic)
        fingerprint = fingerprint_of(EMBEDDED_CHECKPOINT)
        self.server = Server(self.backend, "", fingerprint, access, Limits(**limits))  # type: ignore[arg-type]
        self._bound = listen_at(host, 0, "a test")
        self.port = int(self._bound.getsockname()[1])
        self.url = f"http://127.0.0.1:{self.port}/v1"
        self._web = self.server.web_server()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.server.worker.start()
        self._thread.start()

    def _run(self) -> None:
        asyncio.run(self._web.serve(sockets=[self._bound]))

    def stop(self) -> None:
        self._web.should_exit = True
        self._thread.join(HANG_S)
        self.server.worker.stop()
        self._bound.close()
        self.backend.close()

    def metric(self, name: str, **labels: str) -> float:
        return self.server.metrics.registry.get_sample_value(name, labels or None) or 0.0

    def post(self, body: object, path: str = "/chat/completions", **headers: str) -> tuple[int, dict[str, Any]]:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        request = urllib.request.Request(self.url + path, data, headers={"content-type": "application/json"} | headers)
        try:
            with urllib.request.urlopen(request, timeout=HANG_S) as answer:
                return answer.status, json.loads(answer.read())
        except urllib.error.HTTPError as err:
            text = err.read()
            return err.code, json.loads(text) if text.startswith(b"{") else {"text": text.decode()}

    def ask(self, content: object, **fields: object) -> tuple[int, dict[str, Any]]:
        return self.post({"messages": [{"role": "user", "content": content}], **fields})


@contextmanager
def serving(*args: Any, **kwargs: Any) -> Iterator[Served]:
    served = Served(*args, **kwargs)
    try:
        yield served
    finally:
        served.stop()


def picture(number: int = 0, width: int = 96, height: int = 96) -> np.ndarray:
    """A picture of smooth colours, another one for each number."""
    rows = np.linspace(0, 255, height)[:, None] * np.ones(width)
    columns = np.linspace(0, 255, width)[None, :] * np.ones((height, 1))
    return np.stack([rows, columns, np.full((height, width), (37 * number) % 256)], -1).astype(np.uint8)


def data_url(image: np.ndarray, form: str = "png") -> str:
    stream = io.BytesIO()
    Image.fromarray(image).save(stream, form)
    return f"data:image/{form};base64,{base64.b64encode(stream.getvalue()).decode()}"


def image_part(number: int = 0, **fields: object) -> dict[str, Any]:
    return {"type": "image_url", "image_url": {"url": data_url(picture(number))}, **fields}


def text_part(text: str) -> dict[str, Any]:
    return {"type": "text", "text": text}


def wait_until(is_so: Callable[[], bool]) -> None:
    """Return once it is so; fails after HANG_S."""
    end = time.monotonic() + HANG_S
    while not is_so():
        assert time.monotonic() < end, "it does not come"
        threading.Event().wait(0.01)
