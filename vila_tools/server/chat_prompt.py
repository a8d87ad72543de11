"""From a request to what the engine is asked: the prompt with its frames, the replies to choose from, how to write."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass

from vila_core.engine.sampling import Sampling
from vila_core.errors import VilaError
from vila_core.history.video_sampling import frames_at_rate, native_frames, uniform_frames
from vila_core.media.films import FrameChooser
from vila_core.models.config import CheckpointConfig
from vila_core.models.media_prompt import VIDEO_TOKEN, variant_of
from vila_core.prompts.conversation import render_conversation, stop_texts
from vila_core.types import IMAGE_TOKEN, Prompt, Visual
from vila_tools.server.chat_request import ChatRequest, ImagePart, StructuredOutputs, TextPart, VideoPart
from vila_tools.server.errors import BAD_REQUEST, RefusedError
from vila_tools.server.finite_schema import MOST_CHOICES, choices_of_schema, sentences_of_actions
from vila_tools.server.limits import Limits
from vila_tools.server.pictures import MediaReader

_MOST_STOPS = 8
_MOST_TOKEN_CHARS = 64  # a text of more for each token that the model reads is not even tokenised
_MOST_CHOICE_CHARS = 400


@dataclass(frozen=True, slots=True)
class Replies:
    """What may be replied: the texts that are scored, and what the client is told for each."""

    scored: tuple[str, ...]
    told: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Question:
    """What the engine is asked. replies: None to let the model write. max_tokens: None for as many as fit."""

    prompt: Prompt
    replies: Replies | None
    sampling: Sampling
    max_tokens: int | None
    stop: tuple[str, ...]


class PromptReader:
    """Reads requests for one checkpoint. template: its chat template, or another one. Thread-safe."""

    def __init__(self, config: CheckpointConfig, template: str, media: MediaReader, limits: Limits) -> None:
        self._config, self._template, self._media, self._limits = config, template, media, limits
        self._is_native = variant_of(config) == "native"
        self._most_chars = _MOST_TOKEN_CHARS * config.language.max_positions

    def read(self, request: ChatRequest) -> Question:
        """Return what is asked. Raises RefusedError for what cannot be."""
        system, turns, visuals = self._turns(request)
        try:
            text = render_conversation(self._template, turns, system=system)
            prompt = Prompt(text, tuple(visuals), stop_texts(self._template))
        except (VilaError, ValueError) as err:
            raise _refused(f"the messages cannot be rendered: {err}") from err
        limit = request.max_completion_tokens or request.max_tokens
        return Question(prompt, read_replies(request), _sampling(request), limit, _stops(request))

    def _turns(self, request: ChatRequest) -> tuple[str | None, list[str], list[Visual]]:
        system: str | None = None
        turns: list[str] = []
        visuals: list[Visual] = []
        for message in request.messages:
            text = self._text(message.parts, visuals)
            if message.role in ("system", "developer"):
                if turns or IMAGE_TOKEN in text:
                    raise _refused("a system message comes first, and holds text alone")
                system = text if system is None else f"{system}\n{text}"
                continue
            if (message.role == "assistant") != bool(len(turns) % 2):
                raise _refused("user and assistant speak in turn, the user first")
            turns.append(text)
        count = len(system or "") + sum(map(len, turns))
        if count > self._most_chars:
            why = f"{count} characters, more than this model reads in {self._config.language.max_positions} tokens"
            raise RefusedError(BAD_REQUEST, why, "context_length_exceeded")
        if len(turns) % 2 == 0:
            raise _refused("the last message is the user's")
        return system, turns, visuals

    def _text(self, parts: Sequence[TextPart | ImagePart | VideoPart], visuals: list[Visual]) -> str:
        """Return a turn's text with `<image>` for each visual, which is added to visuals."""
        text = ""
        for number, part in enumerate(parts):
            if isinstance(part, TextPart):
                if IMAGE_TOKEN in part.text or VIDEO_TOKEN in part.text:
                    raise _refused(f"a text holds {IMAGE_TOKEN} or {VIDEO_TOKEN}; send the picture as a part instead")
                text += part.text
                continue
            shown = self._visuals(part)
            visuals += shown
            if sum(len(visual.frames) for visual in visuals) > self._limits.max_frames:
                raise _refused(f"more than {self._limits.max_frames} pictures in a request")
            text += "\n".join([IMAGE_TOKEN] * len(shown)) if self._is_native else IMAGE_TOKEN * len(shown)
            text += "\n" if self._is_native and not _begins_line(parts[number + 1 :]) else ""
        return text

    def _visuals(self, part: ImagePart | VideoPart) -> list[Visual]:
        if isinstance(part, ImagePart):
            if len(part.merged) >= self._limits.max_frames:
                raise _refused(f"more than {self._limits.max_frames} pictures in a request")
            merged = tuple(self._media.picture(one.url) for one in part.merged)
            return [Visual(self._media.picture(part.image_url.url), part.tokens, merged)]
        choose = self._chooser(part)
        if part.video_url is not None:
            frames = self._media.frames(part.video_url.url, choose)
        else:
            frames = self._media.chosen(part.video or (), choose)
        return [Visual(frame, part.tokens) for frame in frames]

    def _chooser(self, part: VideoPart) -> FrameChooser:
        """Return what picks a video's frames, as `vila chat` does; all of a list, if nothing is said."""
        most = part.frames or (self._config.num_video_frames if part.video is None else len(part.video) or 1)
        if most > self._limits.max_frames:
            raise _refused(f"{most} frames of a video, more than {self._limits.max_frames}")
        fps = part.fps or (0.0 if part.frames else self._config.fps)

        def choose(count: int, video_fps: float) -> list[int]:
            if fps > 0 and video_fps > 0:
                return frames_at_rate(count, video_fps, fps, most)
            return native_frames(count, most) if self._is_native else uniform_frames(count, most)

        return choose


def read_replies(request: ChatRequest) -> Replies | None:
    """Return what the reply must be one of, None if it is free. Raises RefusedError for two forms at once."""
    form, outputs = request.response_format, request.structured_outputs or StructuredOutputs()
    schema = None
    if form is not None and form.type == "json_schema":
        if form.json_schema is None:
            raise _refused("response_format json_schema without json_schema")
        schema = form.json_schema.body
    choices = [one for one in (request.guided_choice, outputs.choice) if one is not None]
    schemas = [one for one in (schema, request.guided_json, outputs.body) if one is not None]
    if len(choices) + len(schemas) > 1:
        raise _refused("two forms of the reply at once")
    if schemas:
        told = choices_of_schema(schemas[0])
        return Replies(sentences_of_actions(told) or told, told)
    if not choices:
        return None
    if not 1 <= len(choices[0]) <= MOST_CHOICES or len(set(choices[0])) != len(choices[0]):
        raise _refused(f"1 to {MOST_CHOICES} different choices are needed, got {len(choices[0])}")
    if any(not one or len(one) > _MOST_CHOICE_CHARS for one in choices[0]):
        raise _refused(f"a choice is empty, or longer than {_MOST_CHOICE_CHARS} characters")
    return Replies(choices[0], choices[0])


def _sampling(request: ChatRequest) -> Sampling:
    wanted = (request.top_logprobs or 0) if request.logprobs else None
    seed = secrets.randbits(63) if request.seed is None else request.seed
    return Sampling(request.temperature or 0.0, request.top_p or 1.0, seed, wanted)


def _stops(request: ChatRequest) -> tuple[str, ...]:
    stops = (request.stop,) if isinstance(request.stop, str) else request.stop or ()
    if len(stops) > _MOST_STOPS or not all(stops):
        raise _refused(f"stop: at most {_MOST_STOPS} texts, none of them empty")
    return stops


def _begins_line(parts: Sequence[TextPart | ImagePart | VideoPart]) -> bool:
    return bool(parts) and isinstance(parts[0], TextPart) and parts[0].text.startswith("\n")


def _refused(message: str) -> RefusedError:
    return RefusedError(BAD_REQUEST, message, "invalid_request")
