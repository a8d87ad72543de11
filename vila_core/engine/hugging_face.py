"""The transformers backend: a checkpoint of any image-text-to-text family of Hugging Face, with its own processor."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vila_core.engine.backend import CacheCounts, ModelInfo
from vila_core.engine.hugging_face_config import HuggingFaceConfig, read_hugging_face_config
from vila_core.engine.reply_trie import ReplyTrie, build_trie, choose_reply
from vila_core.errors import BackendError, CheckpointError, MissingDependencyError, NotFiniteError
from vila_core.machine.precision import AUTO
from vila_core.machine.threads import leave_cores_to_torch
from vila_core.types import IMAGE_TOKEN, Choice, Frame, Prompt

_SHOWN_CHARS = 200


def load_transformers_backend(
    checkpoint: Path, *, device: str, precision: str, check_memory: bool = True
) -> TransformersBackend:
    """Load a directory of Hugging Face's layout, or a YAML file that names one, see HuggingFaceConfig.

    Nothing is downloaded, and code that comes with a checkpoint runs only where the file says so. Raises
    CheckpointError and ConfigError, BackendError for a device that is not there, MissingDependencyError without the
    libraries of the extra `transformers`.
    """
    if find_spec("transformers") is None:
        raise _missing("transformers")
    if device.startswith("cuda") and not torch.cuda.is_available():
        raise BackendError(f"device {device!r}: torch {torch.__version__} finds no CUDA device; use device 'cpu'")
    config = read_hugging_face_config(checkpoint)
    from transformers import AutoModelForImageTextToText, AutoProcessor

    dtype = "auto" if precision == AUTO and device != "cpu" else _dtype(precision)
    options = {"local_files_only": True, "trust_remote_code": config.trust_remote_code}
    try:
        processor = AutoProcessor.from_pretrained(config.checkpoint, **options)
        model = AutoModelForImageTextToText.from_pretrained(config.checkpoint, dtype=dtype, **options)
    except ImportError as err:
        raise _missing(err.name or "a library", str(err)) from err
    except Exception as err:  # transformers raises what it likes about files that it cannot use
        if find_spec("torchvision") is None and "VIDEO_PROCESSOR" in str(err):
            raise _missing("torchvision") from err
        why = " ".join(f"{type(err).__name__}: {err}".split())[:_SHOWN_CHARS]
        raise CheckpointError(f"{config.checkpoint} cannot be loaded by transformers: {why}") from err
    return TransformersBackend(model.eval().to(device), processor, config)


@dataclass(slots=True, eq=False)
class _Kept:
    """The last prompt: its ids [L], which frames it shows, the hidden cache behind it, the logits [V] behind it."""

    ids: Tensor
    frames: tuple[object, ...]
    cache: Any
    logits: Tensor


class TransformersBackend:
    """Runs a model of transformers. Frames are encoded with each new prompt. Not thread-safe."""

    def __init__(self, model: Any, processor: Any, config: HuggingFaceConfig) -> None:
        leave_cores_to_torch()
        self._model, self._processor = model, processor
        self._tokenizer = processor.tokenizer
        self._kept: _Kept | None = None
        self._hits = self._misses = 0
        self._trie = lru_cache(maxsize=64)(self._make_trie)
        text = getattr(model.config, "text_config", model.config)
        self.info = ModelInfo(
            name=config.name or Path(config.checkpoint).name,
            precision=str(model.dtype).removeprefix("torch."),
            num_frames=config.num_frames,
            history_tokens=None,
            prompt_style=config.prompt_style,
            chat_template="none",  # the processor has its own
            visual_tokens=self._count_visual_tokens(),
            max_tokens=int(getattr(text, "max_position_embeddings", 0) or 8192),
        )

    @torch.inference_mode()
    def choose(self, prompt: Prompt, replies: Sequence[str]) -> Choice:
        """Score the replies: the prompt's cache, and one pass over all of them side by side."""
        model, trie = self._open(), self._trie(tuple(replies))
        # 1. Prefill what is new of the prompt.
        kept = self._prefill(prompt)
        # 2. Read the replies behind it, a row each, padded at the end; the prompt's own logits decide the first token.
        rows = _rows(trie)
        width = max(map(len, rows))
        scores: dict[tuple[int, ...], Tensor] = {(): kept.logits}
        if width > 1:
            ids = torch.tensor([[*row, *[0] * (width - len(row))] for row in rows], device=model.device)[:, :-1]
            cache = copy.deepcopy(kept.cache)
            cache.batch_repeat_interleave(len(rows))
            length = len(kept.ids)
            mask = torch.ones(len(rows), length + width - 1, dtype=torch.long, device=model.device)
            logits = self._forward(ids, mask, cache, length).logits
            scores |= {row[: at + 1]: logits[r, at] for r, row in enumerate(rows) for at in range(len(row) - 1)}
        # 3. Turn the logits where replies part into one probability for each reply.
        parted = [scores[trie.path(one.node)][list(one.tokens)].float().cpu().numpy() for one in trie.branchings]
        return choose_reply(trie, parted)

    def choose_each(self, prompts: Sequence[Prompt], replies: Sequence[Sequence[str]]) -> tuple[Choice, ...]:
        """Choose for one prompt after the other; what the last one read before its question is kept."""
        return tuple(map(self.choose, prompts, replies))

    @torch.inference_mode()
    def generate(self, prompt: Prompt, max_new_tokens: int) -> str:
        """Decode greedily up to a stop token or max_new_tokens."""
        kept, stops, ids = self._prefill(prompt), self._stop_ids(), list[int]()
        cache, logits = copy.deepcopy(kept.cache), kept.logits
        while len(ids) < max_new_tokens:
            token = int(logits.argmax())
            if token in stops:
                break
            ids.append(token)
            length = len(kept.ids) + len(ids) - 1
            mask = torch.ones(1, length + 1, dtype=torch.long, device=logits.device)
            next_ids = torch.tensor([[token]], device=logits.device)
            logits = _finite(self._forward(next_ids, mask, cache, length).logits[0, -1])
        return self._tokenizer.decode(ids, skip_special_tokens=True)

    def encode(self, frame: Frame) -> bool:
        """Do nothing: frames are encoded with their prompt."""
        return False

    def prefill(self, prompt: Prompt) -> None:
        """Do nothing: a prompt that is cut off is no conversation of the checkpoint's template."""

    def relevance(self, question: str, frames: Sequence[Frame]) -> tuple[float, ...]:
        """Not offered here; see Backend.relevance."""
        raise BackendError(f"{self.info.name} has no relevance head in this backend")

    def cache_counts(self) -> CacheCounts:
        """Return how many prompts went on with the last one's pictures, and how many were read anew."""
        return CacheCounts(self._hits, self._misses)

    def close(self) -> None:
        """Drop the weights and what is kept."""
        self._model = self._kept = None
        self._trie.cache_clear()

    def _open(self) -> Any:
        if self._model is None:
            raise BackendError("the backend is closed; load it again")
        return self._model

    def _prefill(self, prompt: Prompt) -> _Kept:
        """Read a prompt, or what is new of it where the last one shows the same pictures and they stand before."""
        model, inputs = self._open(), self._inputs(prompt)
        ids, frames = inputs["input_ids"][0], tuple(visual.key for visual in prompt.visuals)
        if len(ids) >= self.info.max_tokens:
            raise BackendError(f"the prompt has {len(ids)} tokens, the model has {self.info.max_tokens} positions")
        shared = self._shared(ids, frames)
        if shared and self._kept is not None:
            cache = self._kept.cache
            cache.crop(shared - len(self._kept.ids))  # below 0: so many are taken out
            mask = torch.ones(1, len(ids), dtype=torch.long, device=model.device)
            output = self._forward(ids[None, shared:], mask, cache, shared)
            self._hits += 1
        else:
            self._kept = None
            output = model(**inputs, use_cache=True)
            self._misses += 1
        self._kept = _Kept(ids, frames, output.past_key_values, _finite(output.logits[0, -1]))
        return self._kept

    def _shared(self, ids: Tensor, frames: tuple[object, ...]) -> int:
        """How many tokens are kept; 0 unless all pictures are among them and the cache can be cut there."""
        kept = self._kept
        if kept is None or kept.frames != frames or not _is_croppable(kept.cache):
            return 0
        count = min(len(ids), len(kept.ids)) - 1
        differ = (ids[:count] != kept.ids[:count]).nonzero()
        shared = int(differ[0]) if len(differ) else count
        pictured = (ids == self._image_id()).nonzero()
        return shared if not frames or (len(pictured) and int(pictured[-1]) < shared) else 0

    def _forward(self, ids: Tensor, mask: Tensor, cache: Any, length: int) -> Any:
        """Read ids [B, T] behind `length` tokens of the cache."""
        positions = self._positions(length, ids.shape)
        return self._open()(input_ids=ids, attention_mask=mask, past_key_values=cache, use_cache=True, **positions)

    def _positions(self, length: int, shape: torch.Size) -> dict[str, Tensor]:
        """Positions of tokens behind a prompt; rotary ones in three dimensions go on from its largest."""
        model = self._open()
        steps = torch.arange(length, length + shape[1], device=model.device).expand(shape)
        deltas = getattr(getattr(model, "model", model), "rope_deltas", None)
        if deltas is None:
            return {"position_ids": steps}
        return {"position_ids": (steps + deltas.to(steps.device).reshape(-1)[:1]).expand(3, *shape)}

    def _inputs(self, prompt: Prompt) -> Any:
        images = []
        for visual in prompt.visuals:
            if visual.merged or visual.tokens is not None:
                raise BackendError(f"{self.info.name}: set history.policy to one that shows whole frames")
            images.append(visual.frame.image)
        parts: list[dict[str, str]] = []
        for number, text in enumerate(prompt.text.split(IMAGE_TOKEN)):
            parts += [{"type": "image"}] if number else []
            parts += [{"type": "text", "text": text}] if text else []
        return self._processed(parts, images)

    def _processed(self, parts: list[dict[str, str]], images: list[np.ndarray]) -> Any:
        model = self._open()
        text = self._processor.apply_chat_template([{"role": "user", "content": parts}], add_generation_prompt=True)
        made = self._processor(text=[text], images=images or None, return_tensors="pt")
        return made.to(model.device, model.dtype)

    def _count_visual_tokens(self) -> int:
        parts = [{"type": "text", "text": "a"}]
        with_picture = self._processed([*parts, {"type": "image"}], [np.zeros((480, 640, 3), np.uint8)])
        return max(1, with_picture["input_ids"].shape[1] - self._processed(parts, [])["input_ids"].shape[1])

    def _image_id(self) -> int:
        config = self._open().config
        for name in ("image_token_id", "image_token_index"):
            if getattr(config, name, None) is not None:
                return int(getattr(config, name))
        return -1

    def _stop_ids(self) -> frozenset[int]:
        told = self._open().generation_config.eos_token_id
        ids = [] if told is None else [told] if isinstance(told, int) else list(told)
        return frozenset([*ids, *([self._tokenizer.eos_token_id] if self._tokenizer.eos_token_id is not None else [])])

    def _make_trie(self, replies: tuple[str, ...]) -> ReplyTrie:
        end = self._tokenizer.eos_token_id
        if end is None:
            raise BackendError(f"{self.info.name}: its tokenizer has no end of text; replies cannot be closed")
        return build_trie([(*self._tokenizer.encode(reply, add_special_tokens=False), end) for reply in replies])


def _rows(trie: ReplyTrie) -> list[tuple[int, ...]]:
    return [trie.path(leaf) for leaf in trie.leaves]


def _is_croppable(cache: Any) -> bool:
    """Whether keys and values of the last tokens can be taken out: layers that keep all of them."""
    from transformers.cache_utils import DynamicLayer

    layers = getattr(cache, "layers", ())
    return bool(layers) and all(type(layer) is DynamicLayer for layer in layers)


def _finite(logits: Tensor) -> Tensor:
    if not bool(torch.isfinite(logits.max())):
        raise NotFiniteError("the logits of the next token are not finite")
    return logits


def _dtype(precision: str) -> torch.dtype:
    return torch.float32 if precision == AUTO else getattr(torch, precision)


def _missing(library: str, why: str = "") -> MissingDependencyError:
    more = f" ({' '.join(why.split())[:_SHOWN_CHARS]})" if why else ""
    return MissingDependencyError(
        f"the backend transformers needs {library!r}, which is not installed{more};"
        " run `pip install 'vila-nav[transformers]'`"
    )
