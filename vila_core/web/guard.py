"""What stands before every request: name, origin and method are checked, and answers say what a browser may do."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, MutableMapping
from typing import Any

from vila_core.web.access import Access, header

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Message, Receive, Send], Awaitable[None]]

SECURITY_HEADERS = {
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; connect-src 'self';"
        " base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), microphone=(), geolocation=()",
    "cache-control": "no-store",
}
READING = ("GET", "HEAD")


class Guard:
    """Wraps an ASGI application. methods: those that requests may have; what changes nothing needs no origin."""

    def __init__(self, app: App, access: Access, methods: Collection[str] = READING) -> None:
        self._app, self._access, self._methods = app, access, methods

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Refuse the request, or hand it on."""
        if scope["type"] == "http":
            await self._http(scope, receive, send)
        elif scope["type"] == "websocket":
            await self._websocket(scope, receive, send)

    async def _http(self, scope: Message, receive: Receive, send: Send) -> None:
        async def answer(message: Message) -> None:
            if message["type"] == "http.response.start":
                more = ((name.encode(), value.encode()) for name, value in SECURITY_HEADERS.items())
                message["headers"] = [*message.get("headers", ()), *more]
            await send(message)

        origin, host = (header(scope["headers"], name) for name in (b"origin", b"host"))
        is_browser = any(key == b"origin" for key, _ in scope["headers"])
        if not self._access.allows_host(host):
            await _refuse(answer, 421, b"this server has another name: see allowed_hosts\n")
        elif scope["method"] not in self._methods:
            await _refuse(answer, 405, b"there is nothing to send here\n")
        elif scope["method"] not in READING and is_browser and not self._access.allows_origin(origin, host):
            await _refuse(answer, 403, b"a page from elsewhere may not send this\n")
        else:
            await self._app(scope, receive, answer)

    async def _websocket(self, scope: Message, receive: Receive, send: Send) -> None:
        origin, host = (header(scope["headers"], name) for name in (b"origin", b"host"))
        if self._access.allows_origin(origin, host):
            await self._app(scope, receive, send)
            return
        await receive()  # the client's wish to connect
        await send({"type": "websocket.close", "code": 1008})  # which is answered with status 403


async def _refuse(send: Send, status: int, text: bytes) -> None:
    headers = [(b"content-type", b"text/plain; charset=utf-8"), (b"content-length", str(len(text)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": text})
