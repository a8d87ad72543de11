"""The openai backend: a model on another machine, asked by OpenAI's chat completions."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from vila_core.engine.backend import CacheCounts, ModelInfo
from vila_core.engine.remote.config import RemoteConfig, read_remote_config
from vila_core.engine.remote.exchange import Exchange, StatusError, refused
from vila_core.engine.remote.forms import form_of
from vila_core.engine.remote.logprobs import Token, reply_probabilities
from vila_core.engine.remote.sent_pictures import SentPictures
from vila_core.errors import BackendError, RemoteModelError, RemoteReplyError, ReplyError
from vila_core.types import IMAGE_TOKEN, Choice, Frame, Prompt, Visual, Vocabulary

_OURS = "vila_nav"  # owned_by, of models that `vila serve` serves
_NOT_KEPT = "picture_not_kept"
_TOP = 20  # tokens beside each, the most that servers tell
_SUM_ERROR = 1e-3  # of probabilities
_SHOWN_CHARS = 80


def load_openai_backend(checkpoint: Path, *, device: str, precision: str, check_memory: bool = True) -> OpenAIBackend:
    """Ask a server for its model. checkpoint: a YAML file, see RemoteConfig; the others are the server's business.

    Raises CheckpointError and ConfigError for the file, RemoteError for what does not answer, or not with that model.
    """
    return OpenAIBackend(read_remote_config(checkpoint))


class OpenAIBackend:
    """Asks a model elsewhere. Whatever goes wrong is a RemoteError, within the configured time. Not thread-safe."""

    def __init__(self, config: RemoteConfig) -> None:
        self._config = config
        self._exchange = Exchange(config.base_url, config.token(), config.ca_file)
        self._is_open = True
        try:
            card = _card(self._exchange.ask("/models", None, config.timeout_s), config)
        except StatusError as err:
            self.close()
            raise refused(config.base_url, err) from err
        except BaseException:
            self.close()
            raise
        self._model = str(card["id"])
        self._is_ours = card.get("owned_by") == _OURS
        told = card.get("vila")
        self.info = _info(self._model, config, told if self._is_ours and isinstance(told, Mapping) else {})
        self._fingerprint = str(told.get("fingerprint", "")) if isinstance(told, Mapping) else ""
        self._form = form_of(config.structured, str(card.get("owned_by")))
        self._pictures = SentPictures(config.pictures, are_kept=self._is_ours)

    def choose(self, prompt: Prompt, replies: Sequence[str]) -> Choice:
        """Have the server choose; probabilities are its own, or come from those of the reply's tokens.

        Raises ReplyError for a reply that is none of them, BackendError if nothing tells how probable it is.
        """
        written = [self._form.written(reply) for reply in replies]
        longest = max(map(len, written))
        fields = {"logprobs": True, "top_logprobs": _TOP, "max_tokens": longest + 8}
        choice = self._ask(prompt, fields | self._form.body(replies))
        text = _content(choice).strip()
        if text not in written:
            raise ReplyError(f"{text[:_SHOWN_CHARS]!r} of {self.info.name} is not one of the {len(replies)} replies")
        index = written.index(text)
        return Choice(index, _probabilities(choice, written, index))

    def choose_each(self, prompts: Sequence[Prompt], replies: Sequence[Sequence[str]]) -> tuple[Choice, ...]:
        """Choose for one prompt after the other; the server keeps what they begin with."""
        return tuple(map(self.choose, prompts, replies))

    def generate(self, prompt: Prompt, max_new_tokens: int) -> str:
        """Have a reply written, without sampling."""
        return _content(self._ask(prompt, {"max_tokens": max_new_tokens}), may_be_long=True)

    def encode(self, frame: Frame) -> bool:
        """Compress the frame now; False if that was done."""
        self._require_open()
        return self._pictures.prepare(frame)

    def prefill(self, prompt: Prompt) -> None:
        """Do nothing: the server prefills what it is asked."""

    def relevance(self, question: str, frames: Sequence[Frame]) -> tuple[float, ...]:
        """Not offered here; see Backend.relevance."""
        raise BackendError(f"{self.info.name} has no relevance head in this backend")

    def cache_counts(self) -> CacheCounts:
        """Return how many pictures were named instead of sent, and how many were sent."""
        return CacheCounts(self._pictures.named, self._pictures.whole)

    def close(self) -> None:
        """End the connection."""
        self._is_open = False
        self._exchange.close()

    def _ask(self, prompt: Prompt, fields: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return the answer's only choice. A picture that the server does not keep any more is sent once more."""
        self._require_open()
        deadline_s = time.monotonic() + self._config.timeout_s
        try:
            try:
                answer = self._send(prompt, fields, deadline_s)
            except StatusError as err:
                if err.code != _NOT_KEPT:
                    raise
                self._pictures.forget()
                answer = self._send(prompt, fields, deadline_s)
            self._pictures.confirm()
        except StatusError as err:
            raise refused(self._config.base_url, err) from err
        finally:
            self._pictures.abandon()
        self._require_same_model(answer)
        choices = answer.get("choices")
        if not isinstance(choices, list) or len(choices) != 1 or not isinstance(choices[0], dict):
            raise RemoteReplyError(f"{self._config.base_url} answers without a choice")
        return choices[0]

    def _send(self, prompt: Prompt, fields: Mapping[str, Any], deadline_s: float) -> dict[str, Any]:
        body = {
            "model": self._model,
            "messages": [{"role": "user", "content": self._parts(prompt)}],
            "temperature": 0,
            "seed": 0,
            **fields,
        }
        if prompt.stop:
            body["stop"] = list(prompt.stop)
        return self._exchange.ask("/chat/completions", body, max(0.001, deadline_s - time.monotonic()))

    def _parts(self, prompt: Prompt) -> list[dict[str, Any]]:
        parts: list[dict[str, Any]] = []
        for number, text in enumerate(prompt.text.split(IMAGE_TOKEN)):
            if number:
                parts.append(self._visual(prompt.visuals[number - 1]))
            if text:
                parts.append({"type": "text", "text": text})
        return parts

    def _visual(self, visual: Visual) -> dict[str, Any]:
        part: dict[str, Any] = {"type": "image_url", "image_url": {"url": self._pictures.url(visual.frame)}}
        if visual.tokens is None and not visual.merged:
            return part
        if not self._is_ours:
            raise BackendError(
                f"{self.info.name}: only `vila serve` averages visual tokens; set history.policy to one that shows"
                " whole frames"
            )
        if visual.tokens is not None:
            part["tokens"] = visual.tokens
        if visual.merged:
            part["merged"] = [{"url": self._pictures.url(frame)} for frame in visual.merged]
        return part

    def _require_same_model(self, answer: Mapping[str, Any]) -> None:
        model, fingerprint = answer.get("model"), answer.get("system_fingerprint")
        if model != self._model:
            raise RemoteModelError(f"{str(model)[:_SHOWN_CHARS]!r} answers in the place of {self._model!r}")
        if fingerprint is not None:
            self._fingerprint = self._fingerprint or str(fingerprint)
        if fingerprint != (self._fingerprint or None):
            raise RemoteModelError(
                f"another model answers by the name {self._model!r}: fingerprint {str(fingerprint)[:_SHOWN_CHARS]},"
                f" loaded was {self._fingerprint}; activate the navigator again to take it"
            )

    def _require_open(self) -> None:
        if not self._is_open:
            raise BackendError("the backend is closed; load it again")


def _card(answer: Mapping[str, Any], config: RemoteConfig) -> Mapping[str, Any]:
    rows = answer.get("data")
    if not isinstance(rows, list) or not all(isinstance(row, dict) and isinstance(row.get("id"), str) for row in rows):
        raise RemoteReplyError(f"{config.base_url}/models lists no models")
    known = [row["id"] for row in rows]
    if not config.model and len(rows) == 1:
        return rows[0]
    if config.model not in known:
        raise RemoteModelError(f"{config.base_url} serves {', '.join(known) or 'nothing'}; set `model` to one of these")
    return rows[known.index(config.model)]


def _info(name: str, config: RemoteConfig, told: Mapping[str, Any]) -> ModelInfo:
    """Return what the navigator must know: what `vila serve` tells, or what is configured."""
    info = ModelInfo(
        name=name,
        precision="remote",
        num_frames=config.num_frames,
        history_tokens=None,
        prompt_style=config.prompt_style,
        chat_template="none",  # the server has its own
        visual_tokens=config.visual_tokens,
        max_tokens=config.max_tokens,
    )
    if not told:
        return info
    try:
        return dataclasses.replace(
            info,
            precision=str(told["precision"]),
            num_frames=_count(told["num_frames"]),
            history_tokens=None if told["history_tokens"] is None else _count(told["history_tokens"]),
            prompt_style=str(told["prompt_style"]),
            visual_tokens=_count(told["visual_tokens"]),
            max_tokens=_count(told["max_tokens"]),
            pool=None if told["pool"] is None else tuple(map(_count, told["pool"])),  # type: ignore[arg-type]
            time_tokens=tuple(map(str, told["time_tokens"])),
            picture_px=None if told["picture_px"] is None else _count(told["picture_px"]),
            camera_hfov_deg=_degrees(told.get("camera_hfov_deg")),
            describes=bool(told["describes"]),
            vocabulary=_vocabulary(told.get("vocabulary")),
        )
    except (KeyError, TypeError, ValueError) as err:
        raise RemoteReplyError(f"{config.base_url}/models does not tell what a navigator must know: {err}") from err


def _vocabulary(told: Mapping[str, Any] | None) -> Vocabulary | None:
    if told is None:
        return None
    colours, kinds = (
        tuple((str(name), tuple(map(str, others))) for name, others in told[key]) for key in ("colours", "kinds")
    )
    return Vocabulary(str(told["form"]), colours, kinds)


def _degrees(value: object) -> float | None:
    if value is not None and not (isinstance(value, int | float) and 10 <= value <= 170):
        raise ValueError(f"{value!r} is no field of view")
    return None if value is None else float(value)


def _count(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise ValueError(f"{value!r} is no count")
    return value


def _content(choice: Mapping[str, Any], *, may_be_long: bool = False) -> str:
    message = choice.get("message")
    text = message.get("content") if isinstance(message, dict) else None
    if not isinstance(text, str):
        raise RemoteReplyError("the answer holds no text")
    if choice.get("finish_reason") != "stop" and not (may_be_long and choice.get("finish_reason") == "length"):
        raise RemoteReplyError(f"the reply {text[:_SHOWN_CHARS]!r} was cut: {choice.get('finish_reason')!r}")
    return text


def _probabilities(choice: Mapping[str, Any], written: Sequence[str], index: int) -> tuple[float, ...]:
    told = choice.get("choice_probabilities")
    if told is not None:
        if not isinstance(told, list) or len(told) != len(written) or not all(_is_share(one) for one in told):
            raise RemoteReplyError("choice_probabilities are not one probability for each choice")
        if abs(math.fsum(told) - 1.0) > _SUM_ERROR:
            raise RemoteReplyError(f"choice_probabilities sum to {math.fsum(told):.4f}")
        return tuple(map(float, told))
    try:
        tokens = _tokens(choice.get("logprobs"))
        return reply_probabilities(tokens, written, index)
    except (KeyError, TypeError, ValueError, OverflowError) as err:
        raise RemoteReplyError(f"the logprobs of the reply cannot be used: {err}") from err


def _tokens(logprobs: Any) -> list[Token]:
    if not isinstance(logprobs, dict) or not logprobs.get("content"):
        raise BackendError("the server tells no logprobs; set navigator.reply to generate")
    return [_token(row) for row in logprobs["content"] if row["token"]]


def _token(row: Mapping[str, Any]) -> Token:
    others = tuple((str(other["token"]), float(other["logprob"])) for other in row.get("top_logprobs") or ())
    return Token(str(row["token"]), float(row["logprob"]), others)


def _is_share(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0.0 <= value <= 1.0
