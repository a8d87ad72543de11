"""The vision-language model: the three parts joined, and a prompt turned into embeddings."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from vila_core.errors import InstructionError
from vila_core.media.images import check_image
from vila_core.models.config import CheckpointConfig, EncoderConfig
from vila_core.models.encoders import EncoderTokens, encode_image, encode_pictures, encode_video, encoder_tokens
from vila_core.models.functional import upload
from vila_core.models.language_model import LanguageModel
from vila_core.models.media_prompt import Part, Turn, Variant, compose_turn, repeat_for_tiles, variant_of
from vila_core.models.preprocess import (
    PreparedImage,
    input_size,
    normalise_pixels,
    pad_on_device,
    pad_to_square,
    prepare_image,
    prepare_video,
    resize_image,
    resize_on_device,
)
from vila_core.models.projector import Projector
from vila_core.models.relevance import RelevanceHead
from vila_core.models.tokenizer import NATIVE_IMAGE_ID, Tokenizer
from vila_core.models.vision_tower import VisionTower
from vila_core.types import IMAGE_TOKEN, Frame


@dataclass(frozen=True, slots=True, eq=False)
class Segment:
    """A run of a prompt: token ids, or the number of the visual whose tokens stand here."""

    ids: tuple[int, ...] = ()
    visual: int | None = None


@dataclass(frozen=True, slots=True, eq=False)
class PreparedMedia:
    """Rows [L_i, D] that take the place of each media token, in order, and what they were made from.

    tiles: how many the tower read for each picture, then for each video. blocks: (rows, columns) of those pictures
    that dynamic S2 cut.
    """

    pictures: tuple[Tensor, ...] = ()
    videos: tuple[Tensor, ...] = ()
    tiles: tuple[int, ...] = ()
    blocks: tuple[tuple[int, int], ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class Prepared:
    """A prompt as the decoder reads it.

    text: as rendered. ids: token ids, a media token or NATIVE_IMAGE_ID for each picture, tile or video.
    embeddings: [L, D], with the media's rows in the place of those ids.
    """

    text: str
    ids: tuple[int, ...]
    embeddings: Tensor
    media: PreparedMedia


class VisionLanguageModel(nn.Module):
    """Vision tower, projector, decoder and tokenizer of one checkpoint; relevance_head only if it has one."""

    def __init__(
        self,
        config: CheckpointConfig,
        tokenizer: Tokenizer,
        vision_tower: VisionTower,
        projector: Projector,
        language_model: LanguageModel,
    ) -> None:
        super().__init__()
        self.config = config
        self.tokenizer = tokenizer
        self.vision_tower = vision_tower
        self.projector = projector
        self.language_model = language_model
        self.relevance_head: RelevanceHead | None = None
        native = config.generation == "native"
        self.image_start_ids = () if native else self._text_ids(config.image_encoder.start_tokens)
        self.image_end_ids = () if native else self._text_ids(config.image_encoder.end_tokens)

    @property
    def device(self) -> torch.device:
        """Where the weights lie."""
        return self.language_model.embed_tokens.weight.device

    @property
    def dtype(self) -> torch.dtype:
        """What it computes in."""
        return self.language_model.embed_tokens.dtype

    def prepare(self, parts: Sequence[Part], render: Callable[[str], str], variant: Variant | None = None) -> Prepared:
        """Turn the parts of a user's turn into what the decoder reads, as the official code of the variant does.

        render: user text -> the whole prompt in the checkpoint's chat template. variant: None for the generation of
        code that the checkpoint was trained with. Raises FrameError for an image of a wrong form, InstructionError
        for text that holds tokens without an embedding.
        """
        variant = variant or variant_of(self.config)
        turn = compose_turn(parts, variant)
        media = self.encode_media(turn, variant)
        text = turn.text
        if self._is_tiled(turn, variant) and self.config.images.aspect_ratio == "dynamic":
            text = repeat_for_tiles(text, len(media.pictures))
        return self.splice(render(text), media, variant)

    def encode_media(self, turn: Turn, variant: Variant) -> PreparedMedia:
        """Encode a turn's pictures and videos, with what the checkpoint's encoders put around them.

        A prompt's only picture may be cut into tiles; with "dynamic" each tile then has rows of its own.
        """
        vision, images = self.config.vision, self.config.images
        tiled = self._is_tiled(turn, variant)
        pictures = [self._on_device(prepare_image(image, vision, images, tiled)) for image in turn.pictures]
        videos = [
            [self._on_device(frame) for frame in prepare_video(video.frames, vision, images)] for video in turn.videos
        ]
        rows = encode_pictures(self.vision_tower, self.projector, pictures, images)
        if variant != "native":
            tokens = self._encoder_tokens(self.config.image_encoder)
            rows = [encode_image(visual_tokens, self.config.image_encoder, tokens) for visual_tokens in rows]
        return PreparedMedia(
            tuple(rows),
            tuple(self._encode_video(frames) for frames in videos),
            tuple(len(picture.tiles) for picture in pictures)
            + tuple(sum(len(frame.tiles) for frame in frames) for frames in videos),
            tuple(picture.block for picture in pictures if picture.block is not None),
        )

    def splice(self, text: str, media: PreparedMedia, variant: Variant) -> Prepared:
        """Tokenise a rendered prompt and put the media's rows in the place of their tokens.

        Raises ValueError if a kind of media has more or fewer tokens than rows.
        """
        if variant == "native":
            ids = self.tokenizer.encode_native(text)
            rows: Mapping[int, Sequence[Tensor]] = {NATIVE_IMAGE_ID: media.pictures}
        else:
            ids = self.tokenizer.encode(text, add_bos=True)
            known = self.tokenizer.media_ids
            rows = {known.image: media.pictures, known.video: media.videos}
        for token, sequences in rows.items():
            if ids.count(token) != len(sequences):
                raise ValueError(f"the prompt has {ids.count(token)} media tokens {token} for {len(sequences)} media")
        return Prepared(text, tuple(ids), self._spliced(ids, rows), media)

    def _spliced(self, ids: Sequence[int], rows: Mapping[int, Sequence[Tensor]]) -> Tensor:
        parts: list[Tensor] = []
        run: list[int] = []
        waiting = {token: iter(sequences) for token, sequences in rows.items()}
        for token in ids:
            if token not in waiting:
                run.append(token)
                continue
            parts += [self.embed_ids(run)] if run else []
            parts.append(next(waiting[token]))
            run = []
        return torch.cat([*parts, self.embed_ids(run)] if run else parts)

    def _is_tiled(self, turn: Turn, variant: Variant) -> bool:
        return variant != "native" and len(turn.pictures) == 1

    def _encode_video(self, frames: Sequence[PreparedImage]) -> Tensor:
        visual_tokens = encode_pictures(self.vision_tower, self.projector, frames, self.config.images)
        encoder = self.config.video_encoder
        return encode_video(torch.stack(visual_tokens), encoder, self._encoder_tokens(encoder))

    def _encoder_tokens(self, config: EncoderConfig) -> EncoderTokens:
        return encoder_tokens(config, lambda text: self.embed_ids(self._text_ids(text)))

    def _text_ids(self, text: str) -> tuple[int, ...]:
        """Ids of an encoder's text, the tokenizer's automatic BOS included."""
        return tuple(self.tokenizer.encode(text, add_bos=True)) if text else ()

    def _on_device(self, picture: PreparedImage) -> PreparedImage:
        return dataclasses.replace(picture, tiles=picture.tiles.to(self.device, self.dtype))

    def encode_frames(self, frames: Sequence[Frame]) -> Tensor:
        """Visual tokens [B, N, D] of frames, one tile each whatever their number: so a frame can be encoded once."""
        return self.encode_squares(self.squares(frames, input_size(self.config.vision, self.config.images)))

    def squares(self, frames: Sequence[Frame], size: int) -> Tensor:
        """Frames as squares of a size, uint8 [B, S, S, 3]: padded or squashed, as the checkpoint's images are.

        Raises FrameError for one that is no RGB image of bytes.
        """
        for frame in frames:
            check_image(frame)
        pixels = torch.stack([torch.tensor(self._squashed(frame.image, size)) for frame in frames])
        return pixels.to(self.device)

    def encode_on_device(self, image: Tensor) -> Tensor:
        """Visual tokens [N, D] of a uint8 image [H, W, 3] that lies where the weights do; resized there too."""
        vision, images = self.config.vision, self.config.images
        whole = pad_on_device(image, vision.mean) if images.aspect_ratio == "pad" else image
        return self.encode_squares(resize_on_device(whole, input_size(vision, images))[None])[0]

    def encode_squares(self, pixels: Tensor) -> Tensor:
        """Visual tokens [B, N, D] of uint8 images [B, S, S, 3] of the tower's size."""
        inputs = normalise_pixels(pixels, self.config.vision, self.dtype)
        if not self.config.images.s2_scales:
            return self.projector(self.vision_tower(inputs))
        picture = PreparedImage(inputs)
        return torch.stack(encode_pictures(self.vision_tower, self.projector, [picture], self.config.images))

    def _squashed(self, image: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
        vision, images = self.config.vision, self.config.images
        whole = pad_to_square(image, vision.mean) if images.aspect_ratio == "pad" else image
        return resize_image(whole, size)

    def segments(self, text: str) -> list[Segment]:
        """Split a prompt's text at its image tokens and tokenise what lies between.

        The tokenizer's automatic BOS, if it has one, stands once before all; Llama-3 prompts, whose template writes
        one too, so begin with two. The image's start and end tokens stand around each visual.
        """
        runs: list[Segment] = []
        chunks = text.split(IMAGE_TOKEN)
        for index, chunk in enumerate(chunks):
            if index:
                runs.append(Segment(visual=index - 1))
            head = self.image_end_ids if index else tuple(self.tokenizer.bos_ids)
            end = self.image_start_ids if index < len(chunks) - 1 else ()
            ids = (*head, *self.tokenizer.encode(chunk), *end)
            if ids:
                runs.append(Segment(ids=ids))
        return runs

    def embed(self, segments: Sequence[Segment], visual_tokens: Sequence[Tensor]) -> Tensor:
        """Input embeddings [L, D] of a segmented prompt; visual_tokens: [N_i, D] for each visual."""
        return torch.cat(
            [self.embed_ids(run.ids) if run.visual is None else visual_tokens[run.visual] for run in segments]
        )

    def embed_ids(self, ids: Sequence[int]) -> Tensor:
        """Embeddings [L, D] of token ids; InstructionError for an id that the checkpoint has no embedding for."""
        rows = self.config.language.vocab_size
        if max(ids, default=0) >= rows:
            raise InstructionError(f"token {max(ids)} has no embedding: the checkpoint has {rows}; use plain words")
        return self.language_model.embed_tokens(upload(np.array(ids, dtype=np.int64), self.device))
