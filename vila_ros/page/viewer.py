"""One browser's view: it gets what is new once it has shown what it got before, so that a slow one delays nobody."""

from __future__ import annotations

import asyncio
import json
import struct
import time
from collections.abc import Callable
from typing import Any

from fastapi import WebSocket

from vila_ros.page.board import Board
from vila_ros.page.pictures import Picture, Pictures

_QUIET_S = 0.25  # without news an update comes so often all the same, to show that the connection stands
_LOOK_S = 0.02
_SHOWN_S = 20.0  # a browser that shows nothing for so long is gone


class Viewer:
    """Sends updates to one browser.

    An update is one binary message: a length in 4 bytes, big endian; so many bytes of JSON; the pictures that it names,
    one behind the other. status: what stands in each update, such as the time.
    """

    def __init__(
        self,
        socket: WebSocket,
        board: Board,
        pictures: Pictures,
        status: Callable[[], dict[str, Any]],
        rate_hz: float,
    ) -> None:
        self._socket, self._board, self._pictures, self._status = socket, board, pictures, status
        self._kept = {"decision": pictures.of_decision, "explanation": pictures.of_explanation}
        self._period_s = 1.0 / rate_hz
        self._number = 0  # of the last update
        self._is_shown = True  # it is, or none was sent yet
        self._moment = 0  # of the board, when the last update was made
        self._live: Picture | None = None  # the picture that was sent last
        self._asked = dict[str, str]()  # decisions whose picture is wanted, and of what kind

    def on_seen(self, number: int) -> None:
        """Note that the browser has shown the update of this number."""
        if number == self._number:
            self._is_shown = True

    def on_picture(self, decision: str) -> None:
        """Send the picture of this decision with the next update."""
        self._asked["decision"] = decision

    def on_explained(self, decision: str) -> None:
        """Send the picture of this decision's explanation with the next update."""
        self._asked["explanation"] = decision

    async def run(self) -> None:
        """Send updates until the browser is gone. Raises TimeoutError if it shows nothing any more."""
        while True:
            begun_s = time.monotonic()
            while not self._is_shown:
                if time.monotonic() - begun_s > _SHOWN_S:
                    raise TimeoutError
                await asyncio.sleep(_LOOK_S)
            begun_s = time.monotonic()
            while not (update := await self._update(begun_s)):
                await asyncio.sleep(_LOOK_S)
            self._is_shown = False
            await self._socket.send_bytes(update)
            await asyncio.sleep(max(0.0, begun_s + self._period_s - time.monotonic()))

    async def _update(self, begun_s: float) -> bytes:
        """Make the next update; empty if there is no news, and was not for a short while only."""
        changes, moment = self._board.since(self._moment)
        newest = self._pictures.newest
        is_new = newest is not None and newest is not self._live
        if not (changes or is_new or self._asked or time.monotonic() - begun_s > _QUIET_S):
            return b""
        self._moment, self._number = moment, self._number + 1
        shown: list[dict[str, Any]] = []
        data: list[bytes] = []
        if newest is not None and is_new:
            self._live = newest
            _append(shown, data, {"name": "live", "age_ms": _age_ms(newest)}, await _jpeg(newest))
        asked, self._asked = self._asked, {}
        for kind, decision in asked.items():
            picture = self._kept[kind](decision)
            _append(shown, data, {"name": f"{kind}/{decision}"}, b"" if picture is None else await _jpeg(picture))
        told = self._status() | {"number": self._number, "changes": changes, "pictures": shown}
        text = json.dumps(told, separators=(",", ":"), allow_nan=False).encode()
        return b"".join([struct.pack(">I", len(text)), text, *data])


def _append(shown: list[dict[str, Any]], data: list[bytes], about: dict[str, Any], picture: bytes) -> None:
    shown.append(about | {"bytes": len(picture)})
    data.append(picture)


async def _jpeg(picture: Picture) -> bytes:
    """The picture as JPEG: in another thread, as this one hears the emergency stop."""
    return await asyncio.to_thread(lambda: picture.jpeg)


def _age_ms(picture: Picture) -> int:
    return round(1000 * (picture.age_s + time.monotonic() - picture.received_s))
