"""HTTP as uvicorn speaks it, for clients that may be slow on purpose: who sends or takes nothing is cut off."""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol

_HEAD_S = 10.0  # for a request's head to arrive


def impatient_protocol(stall_timeout_s: float) -> type[H11Protocol]:
    """Return the protocol. stall_timeout_s: in which a client must take what it is sent."""

    class ImpatientProtocol(H11Protocol):
        """Ends connections that hold a place and do nothing."""

        _timer: asyncio.TimerHandle | None = None
        _stalled: asyncio.TimerHandle | None = None

        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            self._expect_head()

        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            if self.cycle is not None and not self.cycle.response_complete:
                self._forget()

        def on_response_complete(self) -> None:
            super().on_response_complete()
            if not self.transport.is_closing() and (self.cycle is None or self.cycle.response_complete):
                self._expect_head()

        def pause_writing(self) -> None:
            super().pause_writing()
            self._stalled = self.loop.call_later(stall_timeout_s, self.transport.abort)

        def resume_writing(self) -> None:
            super().resume_writing()
            if self._stalled is not None:
                self._stalled.cancel()

        def connection_lost(self, exc: Exception | None) -> None:
            self._forget()
            if self._stalled is not None:
                self._stalled.cancel()
            super().connection_lost(exc)

        def _expect_head(self) -> None:
            self._forget()
            self._timer = self.loop.call_later(_HEAD_S, self.transport.abort)

        def _forget(self) -> None:
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None

    return ImpatientProtocol
