"""The web application: who may ask is checked, the body is read within limits, the worker answers."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse, StreamingResponse

from vila_core.errors import FrameError, InstructionError, VilaError
from vila_core.web.access import Access
from vila_tools.server.answers import DONE, Answer, ServedModel, event
from vila_tools.server.chat_prompt import PromptReader
from vila_tools.server.chat_request import ChatRequest, read_request
from vila_tools.server.errors import (
    BAD_REQUEST,
    DOWN,
    FAILED,
    NOT_FOUND,
    TOO_LARGE,
    TOO_MANY,
    UNAUTHORIZED,
    RefusedError,
)
from vila_tools.server.fair_queue import Admission
from vila_tools.server.limits import Limits
from vila_tools.server.metrics import Metrics
from vila_tools.server.tasks import Finished, Piece, Task, TokenText, Told
from vila_tools.server.worker import Worker

_RETRY_AFTER = {"retry-after": "1"}
_MB = 1 << 20


@dataclass(frozen=True, slots=True)
class Service:
    """All that answers need."""

    model: ServedModel
    access: Access
    limits: Limits
    reader: PromptReader
    worker: Worker
    metrics: Metrics


def make_app(service: Service) -> FastAPI:
    """Return the application."""
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    endpoints = _Endpoints(service)
    app.add_api_route("/health", endpoints.health, methods=["GET"])
    app.add_api_route("/metrics", endpoints.metrics, methods=["GET"])
    app.add_api_route("/v1/models", endpoints.models, methods=["GET"])
    app.add_api_route("/v1/models/{name:path}", endpoints.model, methods=["GET"])
    app.add_api_route("/v1/chat/completions", endpoints.chat, methods=["POST"], response_model=None)
    app.add_exception_handler(RefusedError, endpoints.refuse)
    return app


class _Endpoints:
    """Runs in one event loop; decoding of pictures has threads, the model has one."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._admission = Admission(service.limits.max_requests, service.limits.max_requests_each)
        self._held = 0  # bytes of bodies
        self._decoding = ThreadPoolExecutor(2, "vila serve decoding")
        service.metrics.gauge("vila_requests_running", "Requests waiting or answered", lambda: self._admission.count)
        service.metrics.gauge("vila_body_bytes", "Bytes of bodies that are held", lambda: self._held)

    async def health(self) -> Response:
        """Tell whether questions are answered."""
        alive = self._service.worker.is_alive
        return JSONResponse({"status": "ok" if alive else "down"}, 200 if alive else DOWN)

    async def metrics(self, request: Request) -> Response:
        """Tell the counters."""
        self._client(request)
        return Response(self._service.metrics.text(), media_type="text/plain; version=0.0.4; charset=utf-8")

    async def models(self, request: Request) -> Response:
        """List the one model."""
        self._client(request)
        return JSONResponse({"object": "list", "data": [self._service.model.card()]})

    async def model(self, request: Request, name: str) -> Response:
        """Tell of one model."""
        self._client(request)
        self._require_model(name)
        return JSONResponse(self._service.model.card())

    async def refuse(self, request: Request, error: Exception) -> Response:
        """Answer an error."""
        assert isinstance(error, RefusedError)
        self._service.metrics.requests.labels(str(error.status)).inc()
        headers = dict(_RETRY_AFTER) if error.status == TOO_MANY else {}
        if error.status == UNAUTHORIZED:
            headers["www-authenticate"] = "Bearer"
        return JSONResponse(error.body(), error.status, headers)

    async def chat(self, request: Request) -> Response:
        """Answer a conversation, whole or as a stream."""
        # 1. Refuse strangers, and at once what there is no room for.
        client = self._client(request)
        if why := self._admission.enter(client):
            raise RefusedError(TOO_MANY, f"{why}; try again later", "overloaded")
        admitted = _Admitted(self, client)
        try:
            # 2. Read the body within its limits of bytes and time, then what it asks, its pictures decoded.
            body = await admitted.read(request)
            asked = await self._threaded(read_request, body)
            self._require_model(asked.model)
            question = await self._threaded(self._service.reader.read, asked)
            # 3. Have it answered in its turn.
            told: asyncio.Queue[Told] = asyncio.Queue()
            loop = asyncio.get_running_loop()
            task = Task(client, question, _teller(loop, told))
            self._service.worker.submit(task)
            admitted.task = task
            answer = Answer(f"chatcmpl-{secrets.token_hex(12)}", self._service.model, int(time.time()))
            if not asked.stream:
                return await self._whole(request, answer, task, told, admitted)
            # 4. The first piece decides between a stream and an error.
            first = await self._first(request, task, told)
            stream = self._stream(answer, asked, task, told, first)
            return _Leaving(stream, admitted)
        except BaseException:
            admitted.leave()
            raise

    async def _whole(
        self, request: Request, answer: Answer, task: Task, told: asyncio.Queue[Told], admitted: _Admitted
    ) -> Response:
        text, tokens = "", list[TokenText]()
        item = await self._first(request, task, told)
        while not isinstance(item, Finished):
            text, tokens = text + item.text, [*tokens, *item.tokens]
            item = await self._next(request, task, told)
        self._count(task, item)
        admitted.leave()
        wanted = task.question.sampling.alternatives is not None
        return JSONResponse(answer.whole(text, tokens if wanted else None, item))

    async def _first(self, request: Request, task: Task, told: asyncio.Queue[Told]) -> Piece | Finished:
        item = await self._next(request, task, told)
        self._service.metrics.first.observe(time.monotonic() - task.begun_s)
        return item

    async def _next(self, request: Request, task: Task, told: asyncio.Queue[Told]) -> Piece | Finished:
        item = await _unless_gone(request, told)
        if isinstance(item, Exception):
            task.is_told = True
            raise _error(item)
        return item

    async def _stream(
        self, answer: Answer, asked: ChatRequest, task: Task, told: asyncio.Queue[Told], first: Piece | Finished
    ) -> AsyncIterator[bytes]:
        item: Told = first
        yield event(answer.chunk("", None, None, role="assistant"))
        while isinstance(item, Piece):
            if item.text or item.tokens:
                yield event(answer.chunk(item.text, item.tokens, None))
            item = await told.get()
        if isinstance(item, Exception):
            task.is_told = True
            yield event(_error(item).body())
            return
        self._count(task, item)
        yield event(answer.chunk("", None, item))
        if asked.stream_options is not None and asked.stream_options.include_usage:
            yield event(answer.usage_chunk(item))
        yield DONE

    def _count(self, task: Task, end: Finished) -> None:
        task.is_told = True
        metrics = self._service.metrics
        metrics.requests.labels("200").inc()
        metrics.tokens.labels("prompt").inc(end.prompt_tokens)
        metrics.tokens.labels("cached").inc(max(0, end.cached_tokens))
        metrics.tokens.labels("reply").inc(end.reply_tokens)
        metrics.whole.observe(time.monotonic() - task.begun_s)

    def _client(self, request: Request) -> str:
        """Return who asks, by the token's name and the address. Raises RefusedError without the right token."""
        address = request.client.host if request.client else ""
        kind, _, shown = request.headers.get("authorization", "").partition(" ")
        name = self._service.access.name_of(shown.strip() if kind.lower() == "bearer" else "", address)
        if name is None:
            raise RefusedError(UNAUTHORIZED, "a token is needed: Authorization: Bearer TOKEN", "invalid_api_key")
        return name or f"from {address}"

    def _require_model(self, name: str) -> None:
        served = self._service.model.name
        if name not in ("", served):
            raise RefusedError(NOT_FOUND, f"model {name[:60]!r} is not served here, {served!r} is", "model_not_found")

    async def _threaded(self, work: Callable[..., Any], *arguments: Any) -> Any:
        try:
            return await asyncio.get_running_loop().run_in_executor(self._decoding, work, *arguments)
        except RefusedError:
            raise
        except VilaError as err:
            raise RefusedError(BAD_REQUEST, str(err), "invalid_request") from err

    def hold(self, count: int) -> None:
        """Count bytes of a body. Raises RefusedError if all bodies together are too large."""
        if self._held + count > self._service.limits.max_held_mb * _MB:
            raise RefusedError(TOO_MANY, "the requests that are being read hold too many bytes", "overloaded")
        self._held += count

    def let_go(self, client: str, count: int, task: Task | None) -> None:
        """Forget a request; what the model still does for it is cancelled."""
        self._held -= count
        self._admission.leave(client)
        if task is not None and not task.is_told:
            task.cancelled.set()
            self._service.metrics.cancelled.inc()

    @property
    def limits(self) -> Limits:
        """Those of the service."""
        return self._service.limits


class _Leaving(StreamingResponse):
    """A stream that lets others in when it ends, even if nothing of it could be sent."""

    def __init__(self, stream: AsyncIterator[bytes], admitted: _Admitted) -> None:
        super().__init__(stream, media_type="text/event-stream", headers={"x-accel-buffering": "no"})
        self._admitted = admitted

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Stream."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._admitted.leave()


class _Admitted:
    """A request that was let in, until it is answered or its client is gone."""

    def __init__(self, endpoints: _Endpoints, client: str) -> None:
        self._endpoints, self._client = endpoints, client
        self._bytes = 0
        self._is_in = True
        self.task: Task | None = None

    async def read(self, request: Request) -> bytes:
        """Return the body. Raises RefusedError if it is too large, or does not come in time."""
        limits = self._endpoints.limits
        try:
            return await asyncio.wait_for(self._read(request, limits.max_body_mb * _MB), limits.body_timeout_s)
        except asyncio.TimeoutError as err:
            raise RefusedError(408, f"the request did not come within {limits.body_timeout_s:g} s", "timeout") from err

    async def _read(self, request: Request, most: int) -> bytes:
        too_large = RefusedError(TOO_LARGE, f"a request may have {most} bytes", "request_too_large")
        length = request.headers.get("content-length", "0")
        is_large = length.isdigit() and int(length) > most
        parts: list[bytes] = []
        is_more = True
        while is_more:  # to its end, of what is too large too: else the answer may get lost
            message = await request.receive()
            if message["type"] == "http.disconnect":
                raise _gone()
            part, is_more = message.get("body", b""), message.get("more_body", False)
            if is_large := is_large or self._bytes + len(part) > most:
                continue
            self._endpoints.hold(len(part))
            self._bytes += len(part)
            parts.append(part)
        if is_large:
            raise too_large
        return b"".join(parts)

    def leave(self) -> None:
        """Let others in; again it does nothing."""
        if self._is_in:
            self._is_in = False
            self._endpoints.let_go(self._client, self._bytes, self.task)


def _teller(loop: asyncio.AbstractEventLoop, told: asyncio.Queue[Told]) -> Callable[[Told], None]:
    def tell(item: Told) -> None:
        with suppress(RuntimeError):  # the loop is closed: nobody listens any more
            loop.call_soon_threadsafe(told.put_nowait, item)

    return tell


async def _unless_gone(request: Request, told: asyncio.Queue[Told]) -> Told:
    """Return what is told next. Raises RefusedError if the client goes away before."""
    answer = asyncio.ensure_future(told.get())
    gone = asyncio.ensure_future(_until_gone(request.receive))
    try:
        await asyncio.wait((answer, gone), return_when=asyncio.FIRST_COMPLETED)
        if answer.done():
            return answer.result()
        raise _gone()
    finally:
        answer.cancel()
        gone.cancel()


def _gone() -> RefusedError:
    return RefusedError(499, "the client went away", "gone")  # the status is that of nginx; nobody reads it


async def _until_gone(receive: Callable[[], Awaitable[Any]]) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def _error(err: Exception) -> RefusedError:
    """Return what a client is told: its own faults in words, ours without."""
    if isinstance(err, RefusedError):
        return err
    if isinstance(err, InstructionError | FrameError):
        return RefusedError(BAD_REQUEST, str(err), "invalid_request")
    if isinstance(err, VilaError):
        return RefusedError(FAILED, f"{type(err).__name__}: {err}", "engine_error")
    return RefusedError(FAILED, f"{type(err).__name__}; the server's log has more", "server_error")
