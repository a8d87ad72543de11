"""Cases from end to end: prompt and media in, input embeddings, logits and greedy ids out.

A file `<checkpoint>.<variant>.json` says for each case what the prompt held. The variants head, videotoken and
remotecode list the prompt's parts; native and navila give the rendered prompt and the number of pictures only.
"""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from vila_core.engine.decode import greedy_steps, room_for
from vila_core.errors import ConfigError
from vila_core.models.config import EncoderConfig, TokenOrder
from vila_core.models.media_prompt import Part, Turn, Variant
from vila_core.models.preprocess import input_size
from vila_core.models.tokenizer import NATIVE_IMAGE_ID
from vila_core.models.vlm import Prepared, PreparedMedia, VisionLanguageModel
from vila_core.prompts.conversation import render, stop_token_ids
from vila_tools.parity.case import Case, Check, Limits, equal, near, read_json, read_tensors
from vila_tools.parity.media import Image, Source, candidate_pictures, every_picture, parts_of, sibling_parts
from vila_tools.parity.models import ModelStore, template_of, tokenizer_of


@dataclass(frozen=True, slots=True)
class Code:
    """A generation of the official code. order: of mlp_downsample's tokens, whatever the checkpoint is.

    basic_video: its video encoder is the basic one, whatever the checkpoint says. logits_scale: how much further off
    than ours its logits may be, for it computes in half precision.
    """

    variant: Variant
    order: TokenOrder | None
    lists_parts: bool = True
    basic_video: bool = False
    logits_scale: float = 1.0


CODES = {
    "head": Code("head", "row"),
    "videotoken": Code("videotoken", "row"),
    "remotecode": Code("videotoken", "row", basic_video=True, logits_scale=100.0),
    "native": Code("native", "column", lists_parts=False),
    "navila": Code("native", "column", lists_parts=False),
}


@dataclass(frozen=True, slots=True)
class E2EFile:
    """One file of cases, and what belongs to it."""

    folder: Path
    data: Any
    tensors: Mapping[str, Tensor]
    source: Source
    code: Code

    @property
    def checkpoint(self) -> Path:
        """The checkpoint's directory."""
        return self.folder / "checkpoints" / self.data["checkpoint"]

    @property
    def template(self) -> str:
        """The chat template of the cases' prompts."""
        return template_of(self.checkpoint, self.data.get("conv_mode", "auto"))

    def render(self, text: str) -> str:
        """The user's text in the chat template."""
        return render(self.template, text)


def e2e_cases(folder: Path, models: ModelStore, limits: Limits) -> Iterator[Case]:
    """Yield the cases of every file of e2e/, and one for what a file says of its checkpoint's tokens."""
    source = Source.read(folder / "e2e")
    for path in sorted((folder / "e2e").glob("*.json")):
        data = read_json(path)
        if "cases" not in data:
            continue
        group = "e2e " + (variant := path.stem.rpartition(".")[2])
        name = data.get("checkpoint", path.stem)
        if variant not in CODES:
            yield Case(group, name, tuple, f"variant {variant!r} is not known; known: {', '.join(CODES)}")
            continue
        stored = path.with_suffix(".safetensors")
        tensors = read_tensors(stored) if stored.is_file() else {}
        file = E2EFile(folder, data, tensors, source, CODES[variant])
        if "stop_token_ids" in data:
            yield Case(group, f"{name}: tokens", partial(_token_checks, file, models))
        for key, case in data["cases"].items():
            skip = f"the official code fails here: {case['error']}" if "error" in case else ""
            yield Case(group, f"{name}: {key}", _Run(file, key, models, limits).checks, skip)


def _token_checks(file: E2EFile, models: ModelStore) -> Iterator[Check]:
    """Compare the ids of special tokens, and the defaults of generation."""
    model, data = models.load(file.checkpoint, file.code.order), file.data
    tokenizer = model.tokenizer
    media = tokenizer.media_ids
    stop = stop_token_ids(file.template, tokenizer)
    yield equal("stop ids", sorted(stop), sorted(data["stop_token_ids"]))
    ours = {
        "vocab_size_ckpt": model.config.language.vocab_size,
        "len_tokenizer_after_load": len(tokenizer),
        "media_token_ids": {"image": media.image, "video": media.video},
        "sentinel_token_id": media.sentinel,
        "bos_token_id": tokenizer.bos_id,
        "eos_token_id": tokenizer.eos_id,
        "pad_token_id": tokenizer.pad_id,
    }
    yield from _equal_where_told("", ours, data)
    if "newline_token_ids_as_used_by_encoder" in data and model.config.image_encoder.end_tokens == "\n":
        yield equal("newline ids", tokenizer.encode("\n", add_bos=True), data["newline_token_ids_as_used_by_encoder"])
    yield from _generation_checks(model, stop, data.get("default_generation_config", {}))


def _generation_checks(model: VisionLanguageModel, stop: Sequence[int], wanted: Mapping[str, Any]) -> Iterator[Check]:
    config = model.config.decoding
    ours: dict[str, Any] = {
        "max_length": config.max_length,
        "do_sample": config.do_sample,
        "temperature": config.temperature,
        "top_k": config.top_k,
        "top_p": config.top_p,
    }
    yield from _equal_where_told("generation ", ours, wanted)
    if isinstance(wanted.get("eos_token_id"), list):
        yield equal("generation eos", sorted(config.eos_ids or stop), sorted(wanted["eos_token_id"]))


def _equal_where_told(prefix: str, ours: Mapping[str, Any], wanted: Mapping[str, Any]) -> Iterator[Check]:
    """Compare each value of ours that the reference data tells; prefix: of the checks' names."""
    for key, got in ours.items():
        if key in wanted:
            yield equal(prefix + key, got, wanted[key])


@dataclass(frozen=True, slots=True)
class _Run:
    """One case and who computes it."""

    file: E2EFile
    name: str
    models: ModelStore
    limits: Limits

    @property
    def case(self) -> Any:
        """What the file says of it."""
        return self.file.data["cases"][self.name]

    def checks(self) -> Iterator[Check]:
        """Compare everything that is stored of the case, in the order in which it is computed."""
        code = self.file.code
        model = self.models.load(self.file.checkpoint, code.order)
        prepared = self._from_parts(model) if code.lists_parts else self._from_prompt(model)
        case = self.case
        yield equal("input_ids", list(prepared.ids), case["input_ids"])
        yield from self._media_checks(model, prepared.media)
        yield equal("spliced_length", len(prepared.embeddings), case["spliced_length"])
        stored = self._stored("inputs_embeds")
        if stored is not None:
            yield near("inputs_embeds", prepared.embeddings[:: self._step], stored, self.limits.embeddings)
        yield from self._logit_checks(model, prepared.embeddings)
        yield from self._reply_checks(model, prepared.embeddings)

    def _from_parts(self, model: VisionLanguageModel) -> Prepared:
        parts = self.case.get("prompt_parts") or sibling_parts(self.file.folder, self.file.data, self.name)
        if parts is None:
            raise ConfigError(f"the case {self.name!r} lists no prompt_parts, nor does one of its name beside it")
        return self._prepare(model, parts_of(parts, self.file.source, model.config.num_video_frames))

    def _prepare(self, model: VisionLanguageModel, parts: Sequence[Part]) -> Prepared:
        kept = model.config
        if self.file.code.basic_video:
            model.config = dataclasses.replace(kept, video_encoder=EncoderConfig())
        try:
            return model.prepare(parts, self.file.render, self.file.code.variant)
        finally:
            model.config = kept

    def _from_prompt(self, model: VisionLanguageModel) -> Prepared:
        """Splice the rendered prompt with the pictures that fit it best: the file tells only how many there were."""
        encoded: dict[bytes, Tensor] = {}
        best, least = None, math.inf
        for images in self._candidates(model, encoded):
            rows = tuple(self._encoded(model, image, encoded) for image in images)
            prepared = model.splice(self.case["prompt"], PreparedMedia(rows, tiles=(1,) * len(rows)), "native")
            error = self._embedding_error(prepared)
            if best is None or error < least:
                best, least = prepared, error
            if least <= self.limits.embeddings:
                break
        if best is None:
            raise ConfigError(f"no pictures of inputs.safetensors make the {self.case['num_images']} of {self.name!r}")
        return best

    def _candidates(self, model: VisionLanguageModel, encoded: dict[bytes, Tensor]) -> Iterator[Sequence[Image]]:
        siblings = sibling_parts(self.file.folder, self.file.data, self.name)
        yield from candidate_pictures(self.case["num_images"], self.file.source, siblings)
        stored = self._stored("inputs_embeds")
        if stored is not None:
            yield self._recognised(model, stored, encoded)

    def _recognised(self, model: VisionLanguageModel, stored: Tensor, encoded: dict[bytes, Tensor]) -> Sequence[Image]:
        """Tell for each place which picture's rows are stored there: histories may hold any frames in any order."""
        pool, chosen, start = every_picture(self.file.source), [], 0
        for token in self.case["input_ids"]:
            if token != NATIVE_IMAGE_ID:
                start += 1
                continue
            errors = []
            for image in pool:
                rows = self._encoded(model, image, encoded)
                first = -start % self._step
                there = stored[(start + first) // self._step :][: len(range(first, len(rows), self._step))]
                errors.append(float((rows[first :: self._step].cpu() - there).abs().sum()))
            chosen.append(pool[errors.index(min(errors))])
            start += len(rows)
        return chosen

    def _embedding_error(self, prepared: Prepared) -> float:
        stored = self._stored("inputs_embeds")
        if stored is None:
            return 0.0
        return near("inputs_embeds", prepared.embeddings[:: self._step], stored, 0.0).error

    def _encoded(self, model: VisionLanguageModel, image: Image, known: dict[bytes, Tensor]) -> Tensor:
        key = image.tobytes()
        if key not in known:
            known[key] = model.encode_media(Turn("", (image,)), "native").pictures[0]
        return known[key]

    def _media_checks(self, model: VisionLanguageModel, media: PreparedMedia) -> Iterator[Check]:
        case = self.case
        side = input_size(model.config.vision, model.config.images)
        if "media_shapes" in case:
            first_video = len(media.tiles) - len(media.videos)
            pictures, videos = media.tiles[:first_video], media.tiles[first_video:]
            got: dict[str, Any] = {}
            if media.pictures:
                got["image"] = [[3, side, side]] * sum(pictures)
            if media.videos:
                got["video"] = [[tiles, 3, side, side] for tiles in videos]
            yield equal("media_shapes", got, case["media_shapes"])
        blocks = [list(block) for block in media.blocks]
        if "media_config" in case:
            yield equal("block_sizes", blocks, case["media_config"].get("image", {}).get("block_sizes", []))
        if "image_tensor_shape" in case:
            yield equal("image_tensor_shape", [len(media.pictures), 3, side, side], case["image_tensor_shape"])
        features = self._stored("image_features")
        if features is not None:
            yield near("image_features", torch.stack(media.pictures), features, self.limits.embeddings)

    def _logit_checks(self, model: VisionLanguageModel, embeddings: Tensor) -> Iterator[Check]:
        limit = self.limits.logits * self.file.code.logits_scale
        last, spread = self._stored("logits_last4"), self._stored("logits_all_mean_std_max")
        if last is None and spread is None:
            return
        positions = torch.arange(len(embeddings), device=model.device)
        logits = model.language_model.logits(model.language_model(embeddings[None], positions)[0]).float()
        if last is not None:
            yield near("logits_last", logits[-len(last) :], last, limit)
        if spread is not None:
            got = torch.stack((logits.mean(-1), logits.std(-1), logits.max(-1).values), dim=-1)
            yield near("logits_spread", got, spread, limit)

    def _reply_checks(self, model: VisionLanguageModel, embeddings: Tensor) -> Iterator[Check]:
        wanted = self.case.get("generated_ids") or self.case.get("generated_ids_llm")
        if not wanted:
            return
        kv = room_for(model, len(embeddings) + len(wanted))
        steps = list(islice(greedy_steps(model, embeddings, kv), len(wanted)))
        ids = [token for token, _ in steps]
        if self.models.precision == "float32":  # some margins are too small for any other
            yield equal("generated_ids", ids, wanted)
            if "response" in self.case and "generated_ids" in self.case:
                tokenizer = tokenizer_of(self.file.checkpoint, slow=self.file.code.variant == "native")
                yield equal("response", tokenizer.decode(wanted).strip(), self.case["response"])
        logits = self._stored("gen_logits")
        if logits is not None:
            same = next((at for at, pair in enumerate(zip(ids, wanted, strict=True)) if pair[0] != pair[1]), len(ids))
            rows = torch.stack([row for _, row in steps[: min(len(logits), same + 1)]]).float()
            yield near("gen_logits", rows, logits[: len(rows)], self.limits.logits * self.file.code.logits_scale)

    def _stored(self, name: str) -> Tensor | None:
        return self.file.tensors.get(f"{self.name}.{name}")

    @property
    def _step(self) -> int:
        """inputs_embeds holds every so many-th row."""
        found = re.match(r"every (\d+)", str(self.case.get("inputs_embeds_stored", "")))
        return int(found[1]) if found else 1
