"""The web server, in a thread of its own: a few files, a socket for the view, and one for the emergency stop alone."""

from __future__ import annotations

import asyncio
import itertools
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import uvicorn
from fastapi import FastAPI, Response, WebSocket, WebSocketDisconnect

from vila_core.web.access import Access, Bucket
from vila_core.web.guard import Guard
from vila_core.web.listening import listen_at
from vila_ros.page.board import Board
from vila_ros.page.browser_requests import (
    HELLO,
    STOP,
    VIEW,
    Explain,
    Explained,
    Hello,
    Hold,
    LetGo,
    Picture,
    Press,
    Release,
    Request,
    RequestError,
    Seen,
    parse_request,
)
from vila_ros.page.commands import Commands
from vila_ros.page.config import PageConfig
from vila_ros.page.deadman import Deadman
from vila_ros.page.emergency import Emergency
from vila_ros.page.explainer import Explainer
from vila_ros.page.pictures import Pictures
from vila_ros.page.viewer import Viewer

STATIC = Path(__file__).parent / "static"
TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
}
TYPES |= {".svg": "image/svg+xml"}
_MOST_BYTES = 8192  # of a message, and of a request's head
_MOST_BROWSERS, _MOST_CONNECTIONS = 16, 96
_HELLO_S = 5.0
_REQUESTS_HZ, _REQUESTS_AT_ONCE = 40.0, 80.0  # of one browser; an update that was seen is one of them
_COMMANDS_HZ, _COMMANDS_AT_ONCE = 2.0, 10.0
_REFUSED, _TOO_MANY, _BAD_REQUEST = 4401, 4429, 4400  # why a socket is closed


@dataclass(frozen=True, slots=True)
class Site:
    """What the server shows, and to whom it hands what browsers ask for."""

    config: PageConfig
    access: Access
    board: Board
    pictures: Pictures
    commands: Commands
    emergency: Emergency
    deadman: Deadman
    status: Callable[[], dict[str, Any]]
    explainer: Explainer | None = None  # none: browsers are shown the command


class PageServer:
    """Serves a site from `start` to `stop`. Raises ConfigError if the address is taken, or is none of this machine."""

    def __init__(self, site: Site) -> None:
        self._socket = listen_at(site.config.host, site.config.port, "the page")
        self.port = int(self._socket.getsockname()[1])
        self._uvicorn = uvicorn.Server(
            uvicorn.Config(
                Guard(make_app(site), site.access),
                lifespan="off",
                http="h11",
                loop="asyncio",
                log_config=None,
                access_log=False,
                server_header=False,
                proxy_headers=False,
                limit_concurrency=_MOST_CONNECTIONS,
                timeout_keep_alive=5,
                timeout_graceful_shutdown=1,
                h11_max_incomplete_event_size=_MOST_BYTES,
                ws_max_size=_MOST_BYTES,
                ws_max_queue=8,
                ws_ping_interval=2.0,
                ws_ping_timeout=20.0,
                ws_per_message_deflate=False,  # JPEG does not get smaller
            )
        )
        self._thread = threading.Thread(target=self._run, name="page server", daemon=True)

    def start(self) -> None:
        """Begin to serve."""
        self._thread.start()

    def stop(self) -> None:
        """End all connections, and the thread."""
        self._uvicorn.should_exit = True
        if self._thread.is_alive():
            self._thread.join(3.0)
        self._socket.close()

    def _run(self) -> None:
        asyncio.run(self._uvicorn.serve(sockets=[self._socket]))


def make_app(site: Site) -> FastAPI:
    """Return the application: the files of `static`, and the two sockets."""
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    for file in sorted(file for file in STATIC.iterdir() if file.suffix in TYPES):
        _add_file(app, "/" if file.name == "index.html" else f"/{file.name}", file)
    connections = _Connections(site)
    app.add_api_websocket_route("/view", connections.view)
    app.add_api_websocket_route("/stop", connections.stop)
    return app


def _add_file(app: FastAPI, path: str, file: Path) -> None:
    data, kind = file.read_bytes(), TYPES[file.suffix]

    async def answer() -> Response:
        return Response(data, headers={"content-type": kind})

    app.add_api_route(path, answer, methods=["GET", "HEAD"])


class _Connections:
    """The browsers that are connected."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._viewers = 0
        self._holders = itertools.count(1)

    async def view(self, socket: WebSocket) -> None:
        """Show the robot to a browser, and take its commands."""
        if not await self._welcome(socket, has_room=self._viewers < _MOST_BROWSERS):
            return
        site = self._site
        viewer = Viewer(socket, site.board, site.pictures, site.status, site.config.picture_rate_hz)
        commands = Bucket(_COMMANDS_HZ, _COMMANDS_AT_ONCE, time.monotonic())

        async def on_request(request: Request) -> None:
            if isinstance(request, Seen):
                viewer.on_seen(request.number)
            elif isinstance(request, Picture):
                viewer.on_picture(request.id)
            elif isinstance(request, Explained):
                viewer.on_explained(request.id)
            elif isinstance(request, Explain):
                self._explain(request.id, commands)
            elif not (commands.take(time.monotonic()) and site.commands.submit(request)):  # type: ignore[arg-type]
                raise _TooManyError

        self._viewers += 1
        sending = asyncio.create_task(viewer.run())
        reading = asyncio.create_task(_read(socket, VIEW, on_request))
        try:
            await asyncio.wait({sending, reading}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._viewers -= 1
            await _end(socket, sending, reading)

    def _explain(self, decision: str, commands: Bucket) -> None:
        if not commands.take(time.monotonic()):
            raise _TooManyError
        if self._site.explainer is not None:
            self._site.explainer.explain(decision)

    async def stop(self, socket: WebSocket) -> None:
        """Take the emergency stop, and hear whether a browser that holds the robot is still there."""
        if not await self._welcome(socket, has_room=True):
            return
        site, holder = self._site, next(self._holders)
        address = socket.client.host if socket.client else "?"

        async def on_request(request: Request) -> None:
            if isinstance(request, Press):
                site.emergency.press(f"pressed on the page, at {address}")
                await socket.send_json({"pressed": True})
            elif isinstance(request, Release):
                site.emergency.release()
            elif isinstance(request, Hold):
                site.deadman.hold(holder, time.monotonic())
            elif isinstance(request, LetGo):
                site.deadman.let_go(holder)

        reading = asyncio.create_task(_read(socket, STOP, on_request))
        try:
            await asyncio.wait({reading})
        finally:
            site.deadman.lose(holder)
            await _end(socket, reading)

    async def _welcome(self, socket: WebSocket, *, has_room: bool) -> bool:
        """Take the connection up if there is room for it, and if its first message shows the token."""
        await socket.accept()
        if not has_room:
            await socket.close(_TOO_MANY, "too many browsers")
            return False
        address = socket.client.host if socket.client else ""
        try:
            hello = parse_request(await asyncio.wait_for(socket.receive_text(), _HELLO_S), HELLO)
            is_known = isinstance(hello, Hello) and self._site.access.allows_token(hello.token, address)
        except (RequestError, KeyError, asyncio.TimeoutError):
            is_known = False
        except WebSocketDisconnect:
            return False
        if not is_known:
            await socket.close(_REFUSED, "the token is missing or wrong")
        return is_known


class _TooManyError(Exception):
    """A browser asks too often."""


async def _read(socket: WebSocket, known: Mapping[str, type], on_request: Callable[..., object]) -> int:
    """Hand on what a browser sends until it leaves, or does what none of ours does; returns why to close."""
    bucket = Bucket(_REQUESTS_HZ, _REQUESTS_AT_ONCE, time.monotonic())
    while True:
        try:
            request = parse_request(await socket.receive_text(), known)
            if not bucket.take(time.monotonic()):
                raise _TooManyError
            await on_request(request)  # type: ignore[misc]
        except _TooManyError:
            return _TOO_MANY
        except (RequestError, KeyError):  # KeyError: bytes instead of text
            return _BAD_REQUEST
        except (WebSocketDisconnect, RuntimeError):
            return 1000


async def _end(socket: WebSocket, *tasks: asyncio.Task[object]) -> None:
    """End the tasks and the connection."""
    for task in tasks:
        task.cancel()
    results = await asyncio.gather(*tasks, return_exceptions=True)
    codes = [result for result in results if isinstance(result, int)]
    with suppress(RuntimeError, WebSocketDisconnect):  # it is closed
        await socket.close(codes[0] if codes else 1000)
