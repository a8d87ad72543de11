"""The parameters of the page node, and what they mean together."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from vila_core.config import check_fields
from vila_core.errors import ConfigError
from vila_core.fields import Bounds, OneOf
from vila_core.web.access import is_loopback
from vila_core.web.tokens import first_token
from vila_ros.common.qos import RELIABILITIES
from vila_ros.common.topics import AUTO, TRANSPORTS


@dataclass(frozen=True, slots=True)
class PageConfig:
    """Where the page is served, to whom, and how often pictures come."""

    host: str = "127.0.0.1"  # address to serve at; one that other machines reach needs a token
    port: Annotated[int, Bounds(least=0, most=65535)] = 8088  # 0: one that is free, told in the log
    token_file: str = ""  # the first line is what a browser must show; empty: none is asked for
    generate_token: bool = False  # a new token at each start, told once in the log
    allowed_hosts: str = ""  # more names, comma separated, by which browsers may call the page
    # of the images: raw; compressed: from the topic with /compressed behind; auto: that where it is published
    image_transport: Annotated[str, OneOf(TRANSPORTS)] = AUTO
    image_reliability: Annotated[str, OneOf(tuple(RELIABILITIES))] = "best_effort"  # of our end of the images
    odometry_reliability: Annotated[str, OneOf(tuple(RELIABILITIES))] = "best_effort"  # of our end of odometry
    # updates of each browser at most; a slow one gets fewer
    picture_rate_hz: Annotated[float, Bounds(least=0.5, most=30)] = 8.0
    picture_width_px: Annotated[int, Bounds(least=64, most=1920)] = 640  # wider pictures are made smaller
    # a click asks the model again what a recorded decision depends on: a second model beside the navigator's
    explain: bool = False
    governor: str = "governor"  # name of the node whose state counts
    # silence of a browser that holds the robot, after which the emergency stop is pressed
    deadman_timeout_s: Annotated[float, Bounds(least=0.2, most=0.4)] = 0.3

    def __post_init__(self) -> None:
        check_fields(self)
        if self.token_file and self.generate_token:
            raise ConfigError("token_file and generate_token are both set: leave one out")
        if not (is_loopback(self.host) or self.token_file or self.generate_token):
            raise ConfigError(
                f"host = {self.host!r} lets other machines reach the page: set token_file to a file that holds a"
                " secret, or generate_token to true; or leave host at 127.0.0.1 and use ssh -L"
            )


def read_token(config: PageConfig) -> str:
    """Return the token that browsers must show, empty if none is asked for.

    Raises ConfigError for a file that cannot be read, or whose first line is too short to be a secret.
    """
    if config.generate_token:
        return secrets.token_urlsafe(24)
    if not config.token_file:
        return ""
    return first_token(Path(config.token_file))
