"""How much a request, a client and all of them together may ask for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from vila_core.config import check_fields
from vila_core.fields import Bounds


@dataclass(frozen=True, slots=True)
class Limits:
    """What is asked beyond these is refused: 413 for bytes, 429 for one request too many, 400 for the others."""

    max_requests: Annotated[int, Bounds(least=1, most=1024)] = 64  # that wait or are answered, of all clients
    max_requests_each: Annotated[int, Bounds(least=1, most=1024)] = 32  # likewise, of one client
    max_body_mb: Annotated[int, Bounds(least=1, most=1024)] = 32  # of one request
    max_held_mb: Annotated[int, Bounds(least=1, most=65536)] = 256  # of all bodies that are being read or answered
    max_pixels: Annotated[int, Bounds(least=1, most=1 << 25)] = 1 << 23  # of one picture: 3840 x 2160 fits
    max_frames: Annotated[int, Bounds(least=1, most=1024)] = 64  # pictures of one request, a video's frames included
    max_film_frames: Annotated[int, Bounds(least=1, most=1_000_000)] = 3000  # that a video file may hold
    max_reply_tokens: Annotated[int, Bounds(least=1, most=1 << 20)] = 2048  # whatever the request says
    kept_pictures_mb: Annotated[int, Bounds(least=0, most=65536)] = (
        64  # that requests may name instead of sending again
    )
    body_timeout_s: Annotated[float, Bounds(above=0, most=600)] = 20.0  # for a request to arrive whole
    stall_timeout_s: Annotated[float, Bounds(above=0, most=600)] = 20.0  # in which a client must take what it is sent

    def __post_init__(self) -> None:
        check_fields(self)
