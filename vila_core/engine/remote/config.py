"""The file that stands for a model on another machine, in the place of a checkpoint's directory."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

from vila_core.config import check_fields
from vila_core.engine.settings_file import read_settings
from vila_core.errors import CheckpointError, ConfigError
from vila_core.fields import Bounds, OneOf
from vila_core.web.tokens import first_token

AUTO = "auto"
STRUCTURED = (AUTO, "structured_outputs", "guided_choice", "regex", "json_schema", "none")
PICTURES = (AUTO, "png", "jpeg")
_REMEDY = "write base_url: http://10.0.0.5:8000/v1 into it, see docs/server.md"


@dataclass(frozen=True, slots=True)
class RemoteConfig:
    """Where a model is, and what must be known of one that a server of another kind serves."""

    base_url: str = ""  # of the OpenAI form, such as http://10.0.0.5:8000/v1
    model: str = ""  # its name there; empty: the only one that is served
    token_file: str = ""  # the first line is the bearer token
    token_env: str = ""  # or the environment variable that holds it
    ca_file: str = ""  # certificates to trust for https, as PEM; empty: the system's
    # until an answer must be there, whole; it counts from the question
    timeout_s: Annotated[float, Bounds(least=0.05, most=600)] = 3.0
    # how the server is told the replies to choose from; none: it is not, and the prompt lists them
    structured: Annotated[str, OneOf(STRUCTURED)] = AUTO
    pictures: Annotated[str, OneOf(PICTURES)] = AUTO  # how they are sent; auto: JPEG where PNG would be large
    # The rest is for servers that do not tell it; `vila serve` does.
    prompt_style: str = "vila"  # how the model is asked: navila, nano or vila
    num_frames: Annotated[int, Bounds(least=1, most=64)] = 8  # in a prompt, the current one included
    visual_tokens: Annotated[int, Bounds(least=1, most=65536)] = 196  # of a frame
    max_tokens: Annotated[int, Bounds(least=64, most=1 << 24)] = 8192  # of prompt and reply together

    def __post_init__(self) -> None:
        check_fields(self)
        try:
            parts = urlsplit(self.base_url)
            parts.port  # noqa: B018  # raises for what is no port
        except ValueError as err:
            raise ConfigError(f"base_url = {self.base_url!r}: {err}") from err
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.username is not None:
            raise ConfigError(f"base_url = {self.base_url!r}: an address such as http://10.0.0.5:8000/v1 is needed")
        if self.token_file and self.token_env:
            raise ConfigError("token_file and token_env are both set: leave one out")

    def token(self) -> str:
        """Return the token, empty if none is to be shown. Raises ConfigError for one that cannot be had."""
        if self.token_file:
            return first_token(Path(self.token_file))
        if not self.token_env:
            return ""
        token = os.environ.get(self.token_env, "").strip()
        if not token or not token.isascii() or not token.isprintable():
            raise ConfigError(f"the environment variable {self.token_env!r} holds no token")
        return token


def read_remote_config(file: Path) -> RemoteConfig:
    """Read the YAML file. Raises CheckpointError for a file that is none, ConfigError for wrong keys and values."""
    if file.is_dir():
        raise CheckpointError(
            f"{file} is a directory; the backend openai takes a YAML file that says where the model is"
        )
    return read_settings(file, RemoteConfig, _REMEDY)
