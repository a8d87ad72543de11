"""Requests over HTTP with one deadline for all of it: name, connection, sending, waiting, and the last byte."""

from __future__ import annotations

import http.client
import json
import socket
import ssl
import time
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as FutureTimeoutError
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from vila_core.errors import (
    ConfigError,
    RemoteBusyError,
    RemoteError,
    RemoteRefusedError,
    RemoteReplyError,
    RemoteTimeoutError,
    RemoteUnreachableError,
)

_MOST_BYTES = 16 << 20  # of an answer
_CHUNK = 64 << 10
_SHOWN_CHARS = 200
_BUSY = (429, 502, 503, 504)


class StatusError(Exception):
    """An answer that is an error. code: the server's own word for it."""

    def __init__(self, status: int, message: str, code: str) -> None:
        super().__init__(message)
        self.status, self.message, self.code = status, message, code


class Exchange:
    """One server, one request at a time. A thread of its own speaks; who asks waits no longer than the deadline."""

    def __init__(self, base_url: str, token: str, ca_file: str = "") -> None:
        parts = urlsplit(base_url)
        self.where = base_url
        self._host, self._port = str(parts.hostname), parts.port
        self._path = parts.path.rstrip("/")
        self._headers = {"accept": "application/json"} | ({"authorization": f"Bearer {token}"} if token else {})
        self._tls = _context(ca_file) if parts.scheme == "https" else None
        self._thread = ThreadPoolExecutor(1, "remote model")
        self._connection: http.client.HTTPConnection | None = None
        self._running: Future[tuple[int, bytes]] | None = None

    def ask(self, path: str, body: dict[str, Any] | None, timeout_s: float) -> dict[str, Any]:
        """Return the JSON object that answers a GET, or a POST of the body.

        Raises a RemoteError for whatever else comes, and for nothing within timeout_s; StatusError for an answer that
        is an error and no lack of room.
        """
        deadline_s = time.monotonic() + timeout_s
        if self._running is not None and not self._running.done():
            raise RemoteTimeoutError(f"{self.where} still has the request before; its time was over")
        data = None if body is None else json.dumps(body).encode()
        self._running = self._thread.submit(self._exchange, path, data, deadline_s)
        try:
            status, answer = self._running.result(timeout_s)
        except (FutureTimeoutError, TimeoutError) as err:
            self._abort()
            raise RemoteTimeoutError(f"{self.where} did not answer within {timeout_s:g} s") from err
        except RemoteError:
            raise
        except (http.client.IncompleteRead, EOFError) as err:
            raise RemoteReplyError(f"{self.where} ended its answer in the middle") from err
        except OSError as err:
            raise RemoteUnreachableError(f"{self.where} cannot be reached: {err.strerror or err}") from err
        except (http.client.HTTPException, ValueError) as err:
            raise RemoteReplyError(f"{self.where} does not speak HTTP as expected: {type(err).__name__}") from err
        return _object(self.where, status, answer)

    def close(self) -> None:
        """End the connection and the thread."""
        self._abort()
        self._thread.shutdown(wait=False, cancel_futures=True)

    def _abort(self) -> None:
        """Wake the thread from whatever it waits for on the connection."""
        connection, self._connection = self._connection, None
        if connection is not None and (open_socket := connection.sock) is not None:
            with suppress(OSError):
                open_socket.shutdown(socket.SHUT_RDWR)

    def _exchange(self, path: str, data: bytes | None, deadline_s: float) -> tuple[int, bytes]:
        was_open = self._connection is not None
        try:
            return self._once(path, data, deadline_s)
        except (http.client.RemoteDisconnected, ConnectionError, BrokenPipeError):
            if not was_open:
                raise
            return self._once(path, data, deadline_s)  # the server had ended a connection that was idle

    def _once(self, path: str, data: bytes | None, deadline_s: float) -> tuple[int, bytes]:
        connection = self._connection or self._connect(deadline_s)
        try:
            self._limit(connection, deadline_s)
            method, headers = ("GET", {}) if data is None else ("POST", {"content-type": "application/json"})
            connection.request(method, self._path + path, data, self._headers | headers)
            answer = connection.getresponse()
            body = self._read(connection, answer, deadline_s)
            if answer.will_close:
                self._drop(connection)
            return answer.status, body
        except BaseException:
            self._drop(connection)
            raise

    def _connect(self, deadline_s: float) -> http.client.HTTPConnection:
        left = _left(deadline_s)
        if self._tls is None:
            connection = http.client.HTTPConnection(self._host, self._port, timeout=left)
        else:
            connection = http.client.HTTPSConnection(self._host, self._port, timeout=left, context=self._tls)
        connection.connect()
        connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._connection = connection
        return connection

    def _read(
        self, connection: http.client.HTTPConnection, answer: http.client.HTTPResponse, deadline_s: float
    ) -> bytes:
        parts, count = [], 0
        while part := answer.read1(_CHUNK):
            parts.append(part)
            count += len(part)
            if count > _MOST_BYTES:
                raise RemoteReplyError(f"{self.where} answers with more than {_MOST_BYTES} bytes")
            self._limit(connection, deadline_s)
        if answer.length:  # of what the head promised
            raise EOFError
        answer.close()
        return b"".join(parts)

    def _limit(self, connection: http.client.HTTPConnection, deadline_s: float) -> None:
        if connection.sock is not None:
            connection.sock.settimeout(_left(deadline_s))

    def _drop(self, connection: http.client.HTTPConnection) -> None:
        if self._connection is connection:
            self._connection = None
        connection.close()


def _left(deadline_s: float) -> float:
    left = deadline_s - time.monotonic()
    if left <= 0:
        raise TimeoutError
    return left


def _object(where: str, status: int, answer: bytes) -> dict[str, Any]:
    try:
        told = json.loads(answer)
    except (ValueError, RecursionError) as err:
        if status in _BUSY:
            raise RemoteBusyError(f"{where} has no room now: status {status}") from err
        if status != 200:
            raise StatusError(status, "", "") from err
        raise RemoteReplyError(f"{where} answers with what is no JSON") from err
    if status == 200 and isinstance(told, dict):
        return told
    if status == 200:
        raise RemoteReplyError(f"{where} answers with a JSON {type(told).__name__}, not an object")
    error = told.get("error") if isinstance(told, dict) else None
    words = error if isinstance(error, dict) else told if isinstance(told, dict) else {}
    message = str(words.get("message", ""))[:_SHOWN_CHARS]
    if status in _BUSY:
        raise RemoteBusyError(f"{where} has no room now: status {status} {message}")
    raise StatusError(status, message, str(words.get("code", "")))


def refused(where: str, err: StatusError) -> RemoteRefusedError:
    """Return the error for an answer that is one."""
    remedy = "; check the token" if err.status in (401, 403) else ""
    return RemoteRefusedError(f"{where} refuses: status {err.status} {err.message}{remedy}")


def _context(ca_file: str) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=str(Path(ca_file).expanduser()) if ca_file else None)
    except (OSError, ValueError) as err:
        raise ConfigError(f"ca_file = {ca_file!r}: no certificates that can be read: {err}") from err
