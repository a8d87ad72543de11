"""The body of POST /v1/chat/completions: OpenAI's fields, and those that vLLM and VILA's own server add."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from vila_tools.server.errors import BAD_REQUEST, RefusedError

_MOST_TOLD = 3  # errors in a message
_MOST_CHARS = 300
_UNSUPPORTED = (
    *("tools", "tool_choice", "functions", "function_call", "logit_bias", "modalities", "audio", "prediction"),
    *("guided_regex", "guided_grammar", "guided_whitespace_pattern", "regex", "ebnf", "prompt_logprobs", "best_of"),
    *("presence_penalty", "frequency_penalty", "repetition_penalty", "top_k", "min_p", "min_tokens", "bad_words"),
)
_HARMLESS: dict[str, tuple[Any, ...]] = {
    "tools": ([],),
    "tool_choice": ("none", "auto"),
    "modalities": (["text"],),
    "logit_bias": ({},),
    "presence_penalty": (0,),
    "frequency_penalty": (0,),
    "repetition_penalty": (1,),
    "top_k": (0, -1),
    "min_p": (0,),
    "min_tokens": (0,),
    "best_of": (1,),
}


class _Body(BaseModel):
    model_config = ConfigDict(frozen=True, allow_inf_nan=False)


class Url(_Body):
    """A data URL, or `sha256:` and the digest of a picture that was sent before."""

    url: str


class TextPart(_Body):
    """A text."""

    type: Literal["text"]
    text: str


class ImagePart(_Body):
    """A picture. tokens: to average its visual tokens to. merged: pictures before it, averaged with it."""

    type: Literal["image_url"]
    image_url: Url
    tokens: int | None = Field(default=None, ge=1)
    merged: tuple[Url, ...] = ()


class VideoPart(_Body):
    """A video file, or JPEG frames in a list or with commas between, as vLLM has them; which frames of it are seen."""

    type: Literal["video_url", "video"]
    video_url: Url | None = None
    video: tuple[str, ...] | None = None
    fps: float | None = Field(default=None, gt=0)
    frames: int | None = Field(default=None, ge=1)
    tokens: int | None = Field(default=None, ge=1)

    @model_validator(mode="after")
    def _one_source(self) -> VideoPart:
        if (self.video_url is None) == (self.video is None):
            raise ValueError("a video has either video_url or video")
        return self


Part = Annotated[TextPart | ImagePart | VideoPart, Field(discriminator="type")]


class Message(_Body):
    """A turn."""

    role: Literal["system", "developer", "user", "assistant"]
    content: str | tuple[Part, ...]

    @property
    def parts(self) -> tuple[TextPart | ImagePart | VideoPart, ...]:
        """The content as parts."""
        return (TextPart(type="text", text=self.content),) if isinstance(self.content, str) else self.content


class StreamOptions(_Body):
    """What a stream tells at its end."""

    include_usage: bool = False


class JsonSchema(_Body):
    """A schema with a name."""

    name: str = ""
    body: dict[str, Any] = Field(alias="schema")


class ResponseFormat(_Body):
    """Which form the reply has."""

    type: Literal["text", "json_schema"]
    json_schema: JsonSchema | None = None


class StructuredOutputs(_Body):
    """The same as vLLM has it; what is not known here would be ignored silently, so it is refused."""

    model_config = ConfigDict(extra="forbid")

    choice: tuple[str, ...] | None = None
    body: dict[str, Any] | None = Field(default=None, alias="json")


class ChatRequest(_Body):
    """The request. temperature 0, the default, takes the most probable token."""

    model: str = ""
    messages: tuple[Message, ...] = Field(min_length=1, max_length=256)
    max_tokens: int | None = Field(default=None, ge=1)
    max_completion_tokens: int | None = Field(default=None, ge=1)
    temperature: float | None = Field(default=None, ge=0, le=2)
    top_p: float | None = Field(default=None, gt=0, le=1)
    seed: int | None = Field(default=None, ge=-(1 << 63), lt=1 << 63)
    stop: str | tuple[str, ...] | None = None
    stream: bool = False
    stream_options: StreamOptions | None = None
    logprobs: bool | None = None
    top_logprobs: int | None = Field(default=None, ge=0, le=20)
    n: Literal[1] | None = None
    response_format: ResponseFormat | None = None
    guided_choice: tuple[str, ...] | None = None
    guided_json: dict[str, Any] | None = None
    structured_outputs: StructuredOutputs | None = None

    @model_validator(mode="before")
    @classmethod
    def _refuse(cls, values: Any) -> Any:
        for name in _UNSUPPORTED if isinstance(values, dict) else ():
            value = values.get(name)
            if value is not None and value not in _HARMLESS.get(name, ()):
                raise ValueError(f"{name} is not supported here")
        return values


def read_request(body: bytes) -> ChatRequest:
    """Read a body. Raises RefusedError, naming the fields, for what is no JSON or no such request."""
    try:
        return ChatRequest.model_validate_json(body)
    except ValidationError as err:
        told = [f"{'.'.join(map(str, one['loc'])) or 'the body'}: {one['msg']}" for one in err.errors()[:_MOST_TOLD]]
        raise RefusedError(BAD_REQUEST, "; ".join(told)[:_MOST_CHARS], "invalid_request") from err
    except (ValueError, RecursionError) as err:  # of a validator that meets odd values
        raise RefusedError(BAD_REQUEST, f"the body cannot be read: {err}"[:_MOST_CHARS], "invalid_request") from err
