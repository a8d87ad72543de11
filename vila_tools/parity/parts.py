"""Cases of the parts before the decoder: projectors, pictures and towers, encoders."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from vila_core.errors import ConfigError
from vila_core.files.json_object import JsonObject
from vila_core.models.config import CheckpointConfig, ImageConfig, ProjectorConfig, TokenOrder
from vila_core.models.encoders import encode_image, encode_pictures, encode_video, encoder_tokens
from vila_core.models.preprocess import PreparedImage, prepare_image
from vila_core.models.projector import Projector, downsample_rate, space_to_channel
from vila_core.models.s2 import encode_dynamic_s2, encode_s2, merge_pictures, split_blocks
from vila_core.models.stored.config_reader import encoder_of
from vila_core.models.tiling import candidate_grids, choose_grid
from vila_core.models.vlm import VisionLanguageModel
from vila_tools.parity.case import Case, Check, Limits, as_pixels, equal, near, read_json, read_tensors
from vila_tools.parity.models import ModelStore, checkpoints_of

Tensors = Mapping[str, Tensor]
ModelPath = tuple[Path, CheckpointConfig]


def projector_cases(folder: Path, models: ModelStore, limits: Limits) -> Iterator[Case]:
    """Yield a case for each `<kind>.h<side>.output`.

    A file `<kind>_native` without weights and inputs of its own holds what the column-major code makes of another
    file's.
    """
    files = {file.stem: read_tensors(file) for file in sorted((folder / "projectors").glob("*.safetensors"))}
    known = {key: value for tensors in files.values() for key, value in tensors.items()}
    for stem, tensors in files.items():
        for key in tensors:
            if not key.endswith(".output"):
                continue
            source, _, side = key.removesuffix(".output").rpartition(".")
            own = f"{source}.{side}.input" in tensors
            kind = source if own else stem.removesuffix("_native")
            order: TokenOrder = "row" if own else "column"
            wanted = (tensors[key], tensors.get(f"{source}.{side}.space_to_channel"))
            yield Case(
                "projectors",
                key.removesuffix(".output"),
                partial(_projector_checks, known, (kind, side, order), wanted, (models, limits)),
            )


def _projector_checks(
    known: Tensors,
    case: tuple[str, str, TokenOrder],
    wanted: tuple[Tensor, Tensor | None],
    setting: tuple[ModelStore, Limits],
) -> Iterator[Check]:
    (kind, side, order), (models, limits) = case, setting
    features = known[f"{kind}.{side}.input"].to(models.device, models.dtype)
    projector = Projector(ProjectorConfig(kind, features.shape[-1], wanted[0].shape[-1], order))
    prefix = f"{kind}.weights."
    projector.load_state_dict({k.removeprefix(prefix): v for k, v in known.items() if k.startswith(prefix)})
    if wanted[1] is not None:
        cells = space_to_channel(features, downsample_rate(kind), order)
        yield near("space_to_channel", cells, wanted[1], limits.embeddings)
    yield near("output", projector.to(features)(features), wanted[0], limits.embeddings)


def vision_cases(folder: Path, models: ModelStore, limits: Limits) -> Iterator[Case]:
    """Yield a case for each row of tiling.json and each `<method>.<picture>` of vision.safetensors."""
    if (folder / "vision" / "tiling.json").is_file():
        yield from _tiling_cases(read_json(folder / "vision" / "tiling.json"))
    if not (folder / "vision" / "vision.json").is_file():
        return
    data = read_json(folder / "vision" / "vision.json")
    tensors = {**_pictures(folder), **read_tensors(folder / "vision" / "vision.safetensors")}
    known = _Vision(folder, data, tensors, models, limits)
    rows = dict.fromkeys(tuple(key.split(".")[:2]) for key in tensors if not key.startswith("image."))
    for method, picture in rows:
        yield Case("vision", f"{method}.{picture}", partial(known.checks, method, picture))


def _pictures(folder: Path) -> Tensors:
    """The stills of e2e/inputs.safetensors as vision/ names them; it may hold them itself."""
    file = folder / "e2e" / "inputs.safetensors"
    stored = read_tensors(file) if file.is_file() else {}
    return {f"image.{name}": tensor for name, tensor in stored.items() if tensor.dim() == 3}


def _tiling_cases(data: Any) -> Iterator[Case]:
    for key, orders in data.items():
        if key.startswith("candidate_order"):
            for span, wanted in orders.items():
                yield Case("vision", f"tiling order {span}", partial(_order, span, wanted))
    for row in data["rows"]:
        name = f"tiling {row['width']}x{row['height']} by {row['tile']}"
        yield Case("vision", name, partial(_tiling_checks, row))


def _order(span: str, wanted: Any) -> Check:
    first, last = map(int, span.split(".."))
    return equal("candidates", [[grid.cols, grid.rows] for grid in candidate_grids(first, last)], wanted)


_S2_SCALES = 3  # of the dynamic S2 rows of tiling.json: tile, 2 * tile, 3 * tile


def _tiling_checks(row: Any) -> Iterator[Check]:
    size = row["width"], row["height"], row["tile"]
    for key, wanted in row.items():
        if found := re.fullmatch(r"dynamic(?:_max(\d+))?_cols_rows", key):
            grid = choose_grid(*size, min_tiles=1, max_tiles=int(found[1] or 12))
            count = grid.cols * grid.rows
            yield equal(key, [grid.cols, grid.rows], wanted)
            if (total := key.replace("cols_rows", "n_images")) in row:
                yield equal(total, count + (count > 1), row[total])
        if key == "dynamic_s2_block_rows_cols":
            grid = choose_grid(*size, min_tiles=_S2_SCALES**2, max_tiles=12)
            below = sum(side**2 for side in range(1, _S2_SCALES))
            yield equal(key, [grid.rows, grid.cols], wanted)
            yield equal("dynamic_s2_n_images", below + grid.cols * grid.rows, row["dynamic_s2_n_images"])


@dataclasses.dataclass(frozen=True, slots=True)
class _Vision:
    """The pictures and results of a folder's vision/, and who computes them."""

    folder: Path
    data: Any
    tensors: Tensors
    models: ModelStore
    limits: Limits

    def checks(self, method: str, picture: str) -> Sequence[Check]:
        """Compute one method on one picture with the checkpoint whose configuration the file describes."""
        if method.startswith("mode_"):
            return self._mode(method.removeprefix("mode_"), picture)
        makers: dict[str, Callable[[ModelPath, str], list[Check]]] = {
            "dynamic": self._dynamic,
            "dynamic_s2": self._dynamic_s2,
            "s2": self._s2,
        }
        if method not in makers:
            raise ConfigError(f"{method!r} is not known; known: mode_<image_aspect_ratio>, {', '.join(makers)}")
        fitting = [row for row in checkpoints_of(self.folder) if self._fits(method, row[1])]
        if not fitting:
            raise ConfigError(
                f"no checkpoint below {self.folder / 'checkpoints'} fits what vision.json says of {method}"
            )
        tried = [makers[method](row, picture) for row in fitting]
        return min(tried, key=lambda checks: max(check.error for check in checks))

    def _fits(self, method: str, config: CheckpointConfig) -> bool:
        images, size = config.images, int(self.data["image_processor"]["size"]["height"])
        if method == "s2":
            return not images.dynamic_s2 and list(images.s2_scales) == list(self.data["s2"]["scales"])
        if method == "dynamic_s2":
            return images.dynamic_s2 and list(images.s2_scales) == list(self.data["dynamic_s2"]["scales"])
        return images.aspect_ratio == "dynamic" and config.vision.image_size == size

    def _mode(self, mode: str, picture: str) -> list[Check]:
        processor = self.data["image_processor"]
        size = int(processor["size"]["height"])
        config = next(
            (config for _, config in checkpoints_of(self.folder) if config.vision.image_size == size), None
        ) or next(config for _, config in checkpoints_of(self.folder))
        mean, std = (tuple(map(float, processor[key])) for key in ("image_mean", "image_std"))
        vision = dataclasses.replace(
            config.vision, image_size=size, mean=(mean[0], mean[1], mean[2]), std=(std[0], std[1], std[2])
        )
        images = ImageConfig(aspect_ratio="" if mode in ("None", "null") else mode)
        got = prepare_image(self._image(picture), vision, images, tiled=False).tiles[0]
        return self._pixels(f"mode_{mode}.{picture}", got, {"u8": "u8", "float32": "float32"})

    def _dynamic(self, row: ModelPath, picture: str) -> list[Check]:
        key, model = f"dynamic.{picture}", self.models.load(row[0], "row")
        prepared = self._prepared(model, picture)
        features = model.vision_tower(prepared.tiles)
        checks = self._pixels(key, prepared.tiles, {"tiles_u8": "u8"})
        if f"{key}.tile0_float32" in self.tensors:
            checks.append(self._near(f"{key}.tile0_float32", prepared.tiles[0]))
        checks.append(self._near(f"{key}.tower_features", features))
        checks.append(self._near(f"{key}.projected", model.projector(features)))
        return checks

    def _dynamic_s2(self, row: ModelPath, picture: str) -> list[Check]:
        model = self.models.load(row[0], "row")
        index = int(self.data["dynamic_s2"].get("resize_output_to_scale_idx", -1))
        images = dataclasses.replace(model.config.images, s2_resize_index=index)
        if f"image.{picture}" not in self.tensors:
            return self._untiled(model, images, picture)
        key, prepared = f"dynamic_s2.{picture}", self._prepared(model, picture)
        block = self.data["dynamic_s2"].get("block_sizes_rows_cols", {}).get(picture)
        checks = self._pixels(key, prepared.tiles, {"tiles_u8": "u8"})
        checks.append(equal("block", list(prepared.block or ()), block))
        features = model.vision_tower(prepared.tiles)
        (merged, cut), *_ = merge_pictures(features, [prepared.block], images)
        stages = {
            "tower_features": features,
            "merged_bchw": merged[None],
            "split_blocks_bchw": split_blocks(merged[None], cut)[0],
        }
        checks += [self._near(f"{key}.{n}", got) for n, got in stages.items() if f"{key}.{n}" in self.tensors]
        for name in self.tensors:
            if found := re.fullmatch(re.escape(f"{key}.encoded") + r"(?:_idx(\d+))?", name):
                chosen = images if found[1] is None else dataclasses.replace(images, s2_resize_index=int(found[1]))
                checks.append(self._near(name, self._encoded(model, [prepared], chosen)[0]))
        return checks

    def _untiled(self, model: VisionLanguageModel, images: ImageConfig, key: str) -> list[Check]:
        """All pictures in one prompt, so none of them is cut."""
        prepared = [self._prepared(model, picture, tiled=False) for picture in self.data["images"]]
        checks = self._pixels(f"dynamic_s2.{key}", torch.cat([each.tiles for each in prepared]), {"tiles_u8": "u8"})
        return [*checks, self._near(f"dynamic_s2.{key}.encoded", torch.stack(self._encoded(model, prepared, images)))]

    def _encoded(
        self, model: VisionLanguageModel, pictures: Sequence[PreparedImage], images: ImageConfig
    ) -> list[Tensor]:
        tiles = torch.cat([picture.tiles for picture in pictures])
        blocks = [picture.block for picture in pictures]
        return encode_dynamic_s2(model.vision_tower, model.projector, tiles, blocks, images)

    def _s2(self, row: ModelPath, picture: str) -> list[Check]:
        key, model = f"s2.{picture}", self.models.load(row[0], "row")
        given = self.data["s2"]
        images = dataclasses.replace(
            model.config.images,
            s2_max_split_size=int(given["max_split_size"]),
            s2_resize_index=int(given["resize_output_to_idx"]),
        )
        prepared = self._prepared(model, picture, tiled=False)
        checks = self._pixels(key, prepared.tiles, {"pixels_u8": "u8"})
        for name in self.tensors:
            if found := re.fullmatch(re.escape(f"{key}.tower_features") + r"(?:_idx(\d+))?", name):
                chosen = images if found[1] is None else dataclasses.replace(images, s2_resize_index=int(found[1]))
                checks.append(self._near(name, encode_s2(model.vision_tower, prepared.tiles, chosen)))
        encoded = model.projector(encode_s2(model.vision_tower, prepared.tiles, images))
        return [*checks, self._near(f"{key}.encoded", encoded)]

    def _image(self, picture: str) -> Any:
        return self.tensors[f"image.{picture}"].numpy()

    def _prepared(self, model: VisionLanguageModel, picture: str, *, tiled: bool = True) -> PreparedImage:
        prepared = prepare_image(self._image(picture), model.config.vision, model.config.images, tiled)
        return dataclasses.replace(prepared, tiles=prepared.tiles.to(model.device, model.dtype))

    def _pixels(self, key: str, got: Tensor, stored: Mapping[str, str]) -> list[Check]:
        """Compare pixels with those stored as bytes, or as they are."""
        processor, checks = self.data["image_processor"], []
        for suffix, form in stored.items():
            wanted = self.tensors.get(f"{key}.{suffix}")
            if wanted is not None:
                if form == "u8":
                    wanted = as_pixels(wanted, processor["image_mean"], processor["image_std"])
                checks.append(near(suffix, got, wanted, self.limits.embeddings))
        return checks

    def _near(self, key: str, got: Tensor) -> Check:
        return near(key.rpartition(".")[2], got, self.tensors[key], self.limits.embeddings)


def encoder_cases(folder: Path, models: ModelStore, limits: Limits) -> Iterator[Case]:
    """Yield a case for each configuration of encoders.json, and one for the features that they are given."""
    data = read_json(folder / "encoders" / "encoders.json")
    tensors = read_tensors(folder / "encoders" / "encoders.safetensors")

    given = _Encoders(folder, str(data.get("note", "")), tensors, models, limits)
    for name, case in data["cases"].items():
        yield Case("encoders", name, partial(given.checks, name, case))
    if "frames_u8_chw" in tensors:
        yield Case("encoders", "frame_features", given.feature_check)


@dataclasses.dataclass(frozen=True, slots=True)
class _Encoders:
    """What encoders/ holds, and who computes it."""

    folder: Path
    note: str
    tensors: Tensors
    models: ModelStore
    limits: Limits

    def checks(self, name: str, case: Any) -> Iterator[Check]:
        """Compute a configuration's rows for the stored features."""
        model = self._model()
        config = encoder_of(JsonObject({"encoder": case["config"]}, Path("encoders.json")), "encoder")
        weight = self.tensors["embed_tokens_weight_used"].to(model.device, model.dtype)
        for role in ("start_tokens", "end_tokens", "sep_tokens"):
            text = getattr(config, role)
            ids = model.tokenizer.encode(text, add_bos=True) if text else None
            yield equal(role, ids, case["token_ids"][role])
        tokens = encoder_tokens(config, lambda text: weight[model.tokenizer.encode(text, add_bos=True)])
        features = self.tensors["frame_features"].to(model.device, model.dtype)
        is_video = "video" in case["inputs"]
        for key in sorted(key for key in self.tensors if re.fullmatch(re.escape(name) + r"\.out\d+", key)):
            number = int(key.rpartition(".out")[2])
            if is_video:  # the second one is the first one backwards
                got = encode_video(features.flip(0) if number else features, config, tokens)
            else:
                got = encode_image(features[_numbers(case["inputs"])[number]], config, tokens)
            yield near("output", got, self.tensors[key], self.limits.embeddings)

    def feature_check(self) -> Check:
        """Compute the stored features from their pictures."""
        model = self._model()
        pixels = as_pixels(self.tensors["frames_u8_chw"], model.config.vision.mean, model.config.vision.std)
        picture = PreparedImage(pixels.to(model.device, model.dtype))
        got = torch.stack(encode_pictures(model.vision_tower, model.projector, [picture], model.config.images))
        return near("frame_features", got, self.tensors["frame_features"], self.limits.embeddings)

    def _model(self) -> VisionLanguageModel:
        """The checkpoint that the note names, else one with as many embeddings as the file holds."""
        known, rows = checkpoints_of(self.folder), len(self.tensors["embed_tokens_weight_used"])
        named = [path for path, _ in known if path.name in re.findall(r"[\w.-]+", self.note)]
        fitting = [path for path, config in known if config.language.vocab_size == rows]
        if not named and not fitting:
            raise ConfigError(f"no checkpoint below {self.folder / 'checkpoints'} has the {rows} tokens of encoders/")
        return self.models.load((named or fitting)[0], "row")


def _numbers(inputs: str) -> list[int]:
    """The frames that "frames 0,1 as two images" names."""
    found = re.match(r"frames? ([\d, ]+)", inputs)
    if found is None:
        raise ConfigError(f"encoders.json: inputs {inputs!r} name no frames")
    return [int(number) for number in re.findall(r"\d+", found[1])]
