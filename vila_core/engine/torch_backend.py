"""The torch backend: each frame encoded once, each prefix of a prompt prefilled once, a choice in one pass."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache, partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vila_core.engine.backend import CacheCounts, ModelInfo
from vila_core.engine.cached_decoder import CHUNK, CachedDecoder
from vila_core.engine.decode import whole_pass
from vila_core.engine.finite import require_finite, traced
from vila_core.engine.frame_encoder import Encoded, FrameEncoder, embed_visual
from vila_core.engine.memory import require_memory
from vila_core.engine.prefix_cache import Piece, pieces_of, with_ids
from vila_core.engine.relevance_scorer import RelevanceScorer
from vila_core.engine.reply_trie import Grammar, make_grammar
from vila_core.engine.sampling import Pick
from vila_core.engine.shared_prefix import Suffix, split_hidden, split_prompts, suffix_groups, suffix_tree
from vila_core.engine.visual_cache import VisualCache
from vila_core.errors import BackendError, NotFiniteError
from vila_core.kernels.library import kernels, kernels_status
from vila_core.kernels.linear import KERNEL_TYPES
from vila_core.machine.computing import computed_on
from vila_core.machine.precision import AUTO
from vila_core.machine.threads import leave_cores_to_torch
from vila_core.models.encoders import frame_tokens
from vila_core.models.packed_linear import lay_out_small, pack_linears
from vila_core.models.preprocess import input_size
from vila_core.models.stored.checkpoint import load_checkpoint
from vila_core.models.vlm import VisionLanguageModel
from vila_core.models.working_precision import precision_label, working_precision
from vila_core.quantization.gpu.convert import GpuConverter
from vila_core.quantization.runtime import convert_for_cpu, narrow_for_cpu
from vila_core.types import Choice, Frame, Prompt

VISUAL_CACHE_FRAMES = 640  # more than HistoryConfig.capacity: no frame of the history is encoded twice


def load_torch_backend(checkpoint: Path, *, device: str, precision: str, check_memory: bool = True) -> TorchBackend:
    """Load a checkpoint directory; errors as in models.checkpoint.load_checkpoint and load_model."""
    kept, chosen = VISUAL_CACHE_FRAMES if check_memory else None, working_precision(checkpoint, precision, device)
    model = load_model(checkpoint, device, chosen.name, kept_frames=kept)
    return TorchBackend(model, chosen.name, precision_reason=chosen.reason)


def load_model(checkpoint: Path, device: str, precision: str, *, kept_frames: int | None = 0) -> VisionLanguageModel:
    """Load the model, ready to run on the device; BackendError if that is not there or has no room for it.

    precision: a name, or "auto"; models.working_precision tells what that becomes, and why.
    kept_frames: whose visual tokens will be kept beside the model; None: load without asking whether there is room.
    """
    if device.startswith("cuda") and not torch.cuda.is_available():
        raise BackendError(f"device {device!r}: torch {torch.__version__} finds no CUDA device; use device 'cpu'")
    precision = working_precision(checkpoint, precision, device).name if precision == AUTO else precision
    if kept_frames is not None:
        require_memory(checkpoint, device=device, precision=precision, frames=kept_frames)
    model = load_checkpoint(checkpoint, device=device, precision=precision, narrow_table=True)
    prepare_for_device(model)
    return model


def prepare_for_device(model: VisionLanguageModel, *, times: tuple[float, float] = (1.0, 1.0)) -> None:
    """Bring a model's layers into the form that its device runs quickest; it can only be run afterwards.

    times: how many such towers and decoders make up the model that it stands for, which may be larger.
    """
    kernels()  # compiled now, not at the first frame: beside a GPU, too, they resize pictures
    if model.device.type == "cpu" and model.dtype in KERNEL_TYPES:
        convert_for_cpu(model)
        lay_out_small(model.vision_tower.encoder.layers, times=times[0])
        lay_out_small(model.language_model.layers, times=times[1])
        model.vision_tower.encoder.join_layers()
        model.language_model.join_layers()
        prepare_eyes(model)
    elif model.device.type == "cuda":
        GpuConverter(model.dtype).convert(model)
    for part in (model.vision_tower, model.projector, model.language_model.layers):
        pack_linears(part)


def prepare_eyes(model: VisionLanguageModel) -> None:
    """Have the eyes of a relevance head on the CPU multiply in 8 bits, where there is one and the kernels take it."""
    if (head := model.relevance_head) is not None and narrow_for_cpu(head.eyes.encoder):
        head.eyes.encoder.join_layers()


def model_info(model: VisionLanguageModel, precision: str, precision_reason: str = "") -> ModelInfo:
    """What the navigator must know of the model."""
    config, navigation = model.config, model.config.navigation
    sizes = config.video_encoder.pool_sizes
    return ModelInfo(
        name=config.name,
        precision=precision_label(model, precision),
        precision_reason=precision_reason,
        num_frames=navigation.num_frames,
        history_tokens=navigation.history_tokens,
        prompt_style=navigation.prompt_style,
        describes=navigation.describes,
        vocabulary=navigation.vocabulary,
        camera_hfov_deg=navigation.camera_hfov_deg,
        chat_template=navigation.chat_template,
        visual_tokens=frame_tokens(config),
        max_tokens=config.language.max_positions,
        relevance_period_s=None if model.relevance_head is None else model.relevance_head.config.period_s,
        time_tokens=tuple(config.time_tokens.format.format(t=t) for t in range(config.time_tokens.count)),
        picture_px=picture_px(model),
        pool=max(sizes, key=lambda size: size[0] * size[1] * size[2]) if sizes else None,
        kernels=kernels_status().text() if model.device.type == "cpu" else "",
        computed_on=computed_on(model.device),
        threads=torch.get_num_threads(),
    )


def picture_px(model: VisionLanguageModel) -> int | None:
    """The side of the largest square that the model squashes a frame to; None if it pads frames instead."""
    if model.config.images.aspect_ratio == "pad":
        return None
    size, head = input_size(model.config.vision, model.config.images), model.relevance_head
    return size if head is None else max(size, head.config.picture_px)


def stop_ids(model: VisionLanguageModel, texts: Sequence[str]) -> frozenset[int]:
    """The checkpoint's own end of text, and the tokens that close a turn of the prompt's chat template."""
    closing = (model.tokenizer.id_of(text) for text in texts)
    return frozenset(model.config.language.eos_token_ids) | {id_ for id_ in closing if id_ is not None}


class TorchBackend:
    """Runs a vision-language model. Not thread-safe: one caller at a time."""

    def __init__(
        self,
        model: VisionLanguageModel,
        precision: str,
        decoder: CachedDecoder | None = None,
        *,
        precision_reason: str = "",
    ) -> None:
        leave_cores_to_torch()
        self.info = model_info(model, precision, precision_reason)
        self.encoder = FrameEncoder(model, VISUAL_CACHE_FRAMES)
        self.decoder = decoder or CachedDecoder(model)
        self._loaded: VisionLanguageModel | None = model
        self._otherwise = "" if model.language_model.layers else "the decoder's engine"
        self._segments = lru_cache(maxsize=64)(model.segments)
        self._grammar = lru_cache(maxsize=64)(partial(make_grammar, model))
        self._scorer = RelevanceScorer(model, self.encoder)

    @property
    def model(self) -> VisionLanguageModel:
        """The model; BackendError once it is closed."""
        self._require_open()
        assert self._loaded is not None
        return self._loaded

    def cache_counts(self) -> CacheCounts:
        """Return the counts of the visual cache."""
        return CacheCounts(self.visual_cache.hits, self.visual_cache.misses)

    @property
    def visual_cache(self) -> VisualCache[Encoded]:
        """What is known of frames, with its counts of hits and misses."""
        return self.encoder.cache

    @torch.inference_mode()
    def choose(self, prompt: Prompt, replies: Sequence[str]) -> Choice:
        """Score the replies in one pass with what is new of the prompt; see reply_trie.choose_reply."""
        # 1. Cut the prompt into pieces that the prefix cache can compare: runs of token ids, and visuals.
        pieces = self._pieces(prompt)
        # 2. Join the replies to a trie, its nodes embedded as a token tree; this is done once for each set of replies.
        grammar = self._grammar(tuple(replies))
        # 3. Say where embeddings come from, once they are asked for: the token table, or the encoder, which runs the
        #    vision tower and the projector only for frames whose visual tokens it does not have.
        embed = self._embed(prompt)
        # 4. Prefill what no cache slot holds, and score the trie's nodes in the same pass.
        with self._finite(lambda: whole_pass(self.model, prompt, grammar.trie.tokens)):
            hidden = self.decoder.prefill(prompt.cache_slot, pieces, embed, grammar.tree)
            # 5. Turn the hidden states into probabilities where replies part, and these into one for each reply.
            return grammar.choose(hidden)

    @torch.inference_mode()
    def choose_each(self, prompts: Sequence[Prompt], replies: Sequence[Sequence[str]]) -> tuple[Choice, ...]:
        """Score each prompt's replies; the prompts' shared prefix is prefilled once, their suffixes side by side."""
        # 1. Split off what all prompts begin with; without such a prefix each is asked alone.
        shared = split_prompts([self._pieces(prompt) for prompt in prompts]) if len(prompts) > 1 else None
        if shared is None:
            return tuple(map(self.choose, prompts, replies))
        # 2. Join each prompt's suffix and the trie of its replies.
        grammars = [self._grammar(tuple(each)) for each in replies]
        suffixes = [Suffix(ids, grammar.tree) for ids, grammar in zip(shared.suffixes, grammars, strict=True)]
        choices: list[Choice] = []
        for group in suffix_groups(suffixes, CHUNK):
            # 3. Prefill the prefix, which the second group finds in the cache, and as many suffixes as one pass takes.
            tree, embed = suffix_tree(self.model, suffixes[group]), self._embed(prompts[0])
            with self._finite(partial(self._pass_each, prompts[group], grammars[group])):
                hidden = self.decoder.prefill(prompts[0].cache_slot, shared.prefix, embed, tree)
                # 4. Choose for each prompt from its own part of the hidden states.
                parts = split_hidden(hidden, suffixes[group])
                choices += (grammar.choose(part) for grammar, part in zip(grammars[group], parts, strict=True))
        return tuple(choices)

    @torch.inference_mode()
    def generate(self, prompt: Prompt, max_new_tokens: int) -> str:
        """Decode greedily up to a stop token or max_new_tokens."""
        model, ids = self.model, list[int]()
        stop, pieces, embed = stop_ids(model, prompt.stop), self._pieces(prompt), self._embed(prompt)
        with self._finite(lambda: whole_pass(model, prompt, ids)):
            for token in self.decoder.decode(prompt.cache_slot, pieces, embed, max_new_tokens):
                if token in stop:
                    break
                ids.append(token)
        return model.tokenizer.decode(ids)

    def prompt_tokens(self, prompt: Prompt) -> int:
        """Return how many tokens the prompt has, visual ones included. Raises InstructionError as `choose`."""
        return sum(piece.count for piece in self._pieces(prompt))

    @torch.inference_mode()
    def continue_reply(
        self, prompt: Prompt, begun: Sequence[int], most: int, pick: Pick, tell: Callable[[int], bool]
    ) -> None:
        """Tell further tokens of a reply that has begun, `most` of them; see CachedDecoder.continue_reply.

        Between two calls the backend may be asked other things. A stop token is told like any other.
        """
        embed_prompt, pieces = self._embed(prompt), with_ids(self._pieces(prompt), begun)

        def embed(number: int) -> Tensor:
            ids = pieces[number].ids
            return self.model.embed_ids(ids) if ids else embed_prompt(number)

        with self._finite(lambda: whole_pass(self.model, prompt, begun)):
            self.decoder.continue_reply(prompt.cache_slot, pieces, embed, most, pick, tell)

    @torch.inference_mode()
    def encode(self, frame: Frame) -> bool:
        """Compute and keep the frame's visual tokens; False if they were there."""
        self._require_open()
        return self.encoder.encode(frame)

    @torch.inference_mode()
    def prefill(self, prompt: Prompt) -> None:
        """Prefill the prompt up to its last visual, so that one that begins alike has less to prefill."""
        pieces = self._pieces(prompt)
        last = max((number for number, piece in enumerate(pieces) if not piece.ids), default=-1)
        if last >= 0:
            with self._finite(lambda: whole_pass(self.model, prompt)):
                hidden = self.decoder.prefill(prompt.cache_slot, pieces[: last + 1], self._embed(prompt))
                require_finite(hidden, "the prefilled states")

    @torch.inference_mode()
    def embeddings(self, prompt: Prompt) -> Tensor:
        """Return the embeddings [L, D] of the whole prompt, as the decoder gets them if nothing is kept."""
        embed = self._embed(prompt)
        return torch.cat([embed(number) for number in range(len(self._pieces(prompt)))])

    @torch.inference_mode()
    def relevance(self, question: str, frames: Sequence[Frame]) -> tuple[float, ...]:
        """Score each frame; see Backend.relevance."""
        model = self.model
        with self._finite(lambda: model.encode_frames(frames), "the relevance head"):
            return self._scorer.score(question, frames)

    @torch.inference_mode()
    def cells(self, frame: Frame) -> NDArray[np.float32]:
        """What each of a frame's cells shows; see CellBackend.cells."""
        model = self.model
        with self._finite(lambda: model.encode_frames([frame]), "the relevance head"):
            return self._scorer.cells(frame)

    @torch.inference_mode()
    def distances(self, frame: Frame) -> NDArray[np.float32] | None:
        """How far off the thing in each of a frame's cells is; see CellBackend.distances."""
        model = self.model
        with self._finite(lambda: model.encode_frames([frame]), "the relevance head"):
            return self._scorer.distances(frame)

    @torch.inference_mode()
    def free_ranges(self, frame: Frame) -> NDArray[np.float32] | None:
        """How far the floor is free in each direction; see CellBackend.free_ranges."""
        model = self.model
        with self._finite(lambda: model.encode_frames([frame]), "the relevance head"):
            return self._scorer.free_ranges(frame)

    @torch.inference_mode()
    def cell_queries(self, questions: Sequence[str]) -> NDArray[np.float32]:
        """What cells are looked for where a question's thing is; see CellBackend.cell_queries."""
        self._require_open()
        return self._scorer.cell_queries(questions)

    def close(self) -> None:
        """Drop the weights and caches."""
        self._segments.cache_clear()
        self._grammar.cache_clear()
        self._scorer.close()
        self.decoder.close()
        self.encoder.close()
        self._loaded = None

    def _pass_each(self, prompts: Sequence[Prompt], grammars: Sequence[Grammar]) -> None:
        for prompt, grammar in zip(prompts, grammars, strict=True):
            whole_pass(self.model, prompt, grammar.trie.tokens)

    @contextmanager
    def _finite(self, compute: Callable[[], object], otherwise: str = "") -> Iterator[None]:
        """Trace what is not finite, as engine.finite does, and keep nothing that may hold it."""
        try:
            with traced(self.model, compute, otherwise or self._otherwise):
                yield
        except NotFiniteError:
            self.encoder.forget()
            self.decoder.forget()
            self._scorer.forget()
            raise

    def _pieces(self, prompt: Prompt) -> tuple[Piece, ...]:
        self._require_open()
        return pieces_of(self._segments(prompt.text), prompt.visuals, self.info.visual_tokens)

    def _embed(self, prompt: Prompt) -> Callable[[int], Tensor]:
        """Return what makes the embeddings [L, D] of a segment, given its number, when they are asked for.

        A GPU begins with the newest frame at once: it is the last one needed.
        """
        model, segments = self.model, self._segments(prompt.text)
        self.encoder.start([visual.frame for visual in prompt.visuals[-1:]])

        def embed(number: int) -> Tensor:
            run = segments[number]
            if run.visual is None:
                return model.embed_ids(run.ids)
            return embed_visual(prompt.visuals[run.visual], self.encoder.tokens)

        return embed

    def _require_open(self) -> None:
        if self._loaded is None:
            raise BackendError("the backend is closed; load it again")
