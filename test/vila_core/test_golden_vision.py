"""Pixels, tiles, S2, projectors and encoders against what the official code computed (test/reference/vila)."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import cache

import pytest
import torch
from conftest import golden_dir
from safetensors.torch import load_file

from vila_core.models.config import EncoderConfig, ProjectorConfig, VisionConfig
from vila_core.models.encoders import EncoderTokens, encode_image, encode_pictures, encode_video
from vila_core.models.preprocess import PreparedImage, input_size, normalise_pixels, prepare_image
from vila_core.models.projector import Projector, downsample_rate, space_to_channel
from vila_core.models.s2 import encode_s2, merge_pictures
from vila_core.models.stored.checkpoint import load_checkpoint
from vila_core.models.tiling import candidate_grids, choose_grid

GOLDEN = golden_dir("vila")
PIXEL_LIMIT = 1e-6
LIMIT = 1e-5

VISION = load_file(GOLDEN / "vision" / "vision.safetensors")
STILLS = load_file(GOLDEN / "e2e" / "inputs.safetensors")
VISION_NOTES = json.loads((GOLDEN / "vision" / "vision.json").read_text())
TILING = json.loads((GOLDEN / "vision" / "tiling.json").read_text())
PROJECTORS = load_file(GOLDEN / "projectors" / "projectors.safetensors")
KINDS = {
    kind: notes
    for kind, notes in json.loads((GOLDEN / "projectors" / "projectors.json").read_text()).items()
    if isinstance(notes, dict)
}
NATIVE = load_file(GOLDEN / "projectors" / "mlp_downsample_native.safetensors")
ENCODERS = load_file(GOLDEN / "encoders" / "encoders.safetensors")
ENCODER_CASES = json.loads((GOLDEN / "encoders" / "encoders.json").read_text())["cases"]

PICTURES = ["landscape_160x100", "portrait_90x150", "wide_240x64"]
NAMES = {"BasicImageEncoder": "basic", "BasicVideoEncoder": "basic", "TSPVideoEncoder": "tsp"}


@pytest.fixture(autouse=True)
def no_gradients():
    with torch.inference_mode():
        yield


@cache
def checkpoint(name):
    """A tiny checkpoint; vision/ was computed by today's code, whose mlp_downsample is row-major."""
    return load_checkpoint(GOLDEN / "checkpoints" / name, token_order="row")


def picture(name):
    return STILLS[name].numpy()


def prepare(name, model, *, tiled=True, **changes):
    return prepare_image(picture(name), model.config.vision, replace(model.config.images, **changes), tiled)


def encode(model, *pictures, **changes):
    images = replace(model.config.images, **changes)
    return encode_pictures(model.vision_tower, model.projector, pictures, images)


def normalised(tiles, model):
    """uint8 tiles [n, 3, S, S] of the reference files, as the tower reads them."""
    return normalise_pixels(tiles.permute(0, 2, 3, 1), model.config.vision, torch.float32)


def assert_near(got, wanted, limit=LIMIT):
    assert got.shape == wanted.shape
    assert (got - wanted).abs().max().item() <= limit


@pytest.mark.parametrize("mode", ["None", "pad", "resize"])
@pytest.mark.parametrize("name", PICTURES)
def test_pixels_of_a_whole_picture(name, mode):
    model = checkpoint("nvila_video_tiny")
    pixels = prepare(name, model, aspect_ratio="" if mode == "None" else mode).tiles
    assert_near(pixels, normalised(VISION[f"mode_{mode}.{name}.u8"][None], model), PIXEL_LIMIT)


@pytest.mark.parametrize("name", PICTURES)
def test_dynamic_tiles_and_their_tokens(name):
    model = checkpoint("nvila_lite_tiny")
    prepared = prepare(name, model)
    assert len(prepared.tiles) == VISION_NOTES["dynamic_tiles"][name]
    assert prepared.block is None
    assert_near(model.vision_tower(prepared.tiles), VISION[f"dynamic.{name}.tower_features"])
    assert_near(torch.stack(encode(model, prepared)), VISION[f"dynamic.{name}.projected"])


@pytest.mark.parametrize("name", PICTURES)
def test_dynamic_s2_stage_by_stage(name):
    model, key = checkpoint("nvila_tiny"), f"dynamic_s2.{name}."
    prepared = prepare(name, model)
    assert list(prepared.block) == VISION_NOTES["dynamic_s2"]["block_sizes_rows_cols"][name]
    features = model.vision_tower(prepared.tiles)
    ((merged, block),) = merge_pictures(features, [prepared.block], model.config.images)
    assert [list(block)] == VISION_NOTES["dynamic_s2"]["new_block_sizes"][name]
    for stage, got in (("tower_features", features), ("merged_bchw", merged[None])):
        if key + stage in VISION:
            assert_near(got, VISION[key + stage])
    assert_near(encode(model, prepared)[0], VISION[key + "encoded"])
    for index in range(len(model.config.images.s2_scales)):
        if f"{key}encoded_idx{index}" in VISION:
            assert_near(encode(model, prepared, s2_resize_index=index)[0], VISION[f"{key}encoded_idx{index}"])


def test_dynamic_s2_of_several_pictures_takes_one_tile_each():
    model = checkpoint("nvila_tiny")
    prepared = [prepare(name, model, tiled=False) for name in PICTURES]
    tiles = torch.cat([each.tiles for each in prepared])
    assert_near(tiles, normalised(VISION["dynamic_s2.none.tiles_u8"], model), PIXEL_LIMIT)
    assert_near(torch.stack(encode(model, *prepared)), VISION["dynamic_s2.none.encoded"])


@pytest.mark.parametrize("name", PICTURES)
def test_static_s2_stage_by_stage(name):
    model, key = checkpoint("vila15_s2_tiny"), f"s2.{name}."
    images = model.config.images
    assert input_size(model.config.vision, images) == VISION_NOTES["s2"]["processor_size"]["height"]
    prepared = prepare(name, model)
    assert_near(encode_s2(model.vision_tower, prepared.tiles, images), VISION[key + "tower_features"])
    assert_near(torch.stack(encode(model, prepared)), VISION[key + "encoded"])
    for index in range(len(images.s2_scales)):
        if f"{key}tower_features_idx{index}" in VISION:
            features = encode_s2(model.vision_tower, prepared.tiles, replace(images, s2_resize_index=index))
            assert_near(features, VISION[f"{key}tower_features_idx{index}"])


def test_candidate_grids_stand_in_the_official_order():
    for numbers, wanted in TILING["candidate_order_cpython_(cols,rows)"].items():
        least, most = map(int, numbers.split(".."))
        assert [[grid.cols, grid.rows] for grid in candidate_grids(least, most)] == wanted


@pytest.mark.parametrize("row", TILING["rows"], ids=lambda row: f"{row['tile']}-{row['width']}x{row['height']}")
def test_the_grid_chosen_for_a_size(row):
    for most, key in ((12, "dynamic"), (6, "dynamic_max6")):
        grid = choose_grid(row["width"], row["height"], row["tile"], min_tiles=1, max_tiles=most)
        count = grid.cols * grid.rows
        assert [grid.cols, grid.rows] == row[f"{key}_cols_rows"]
        assert count + (count > 1) == row[f"{key}_n_images"]
    last = choose_grid(row["width"], row["height"], row["tile"], min_tiles=9, max_tiles=12)
    assert [last.rows, last.cols] == row["dynamic_s2_block_rows_cols"]
    assert 1 + 4 + last.rows * last.cols == row["dynamic_s2_n_images"]


def projector(kind, order="row"):
    notes = KINDS[kind]
    width = notes["mm_hidden_size"]
    module = Projector(ProjectorConfig(kind, width, width if kind == "identity" else notes["hidden_size"], order))
    prefix = f"{kind}.weights."
    module.load_state_dict({k.removeprefix(prefix): v for k, v in PROJECTORS.items() if k.startswith(prefix)})
    return module


@pytest.mark.parametrize("kind", [kind for kind, notes in KINDS.items() if "mm_hidden_size" in notes])
def test_projectors(kind):
    module = projector(kind)
    for side, shape in KINDS[kind]["output_shapes_by_grid_side"].items():
        features = PROJECTORS[f"{kind}.h{side}.input"]
        assert_near(module(features), PROJECTORS[f"{kind}.h{side}.output"])
        assert list(module(features).shape) == shape
        if f"{kind}.h{side}.space_to_channel" in PROJECTORS:
            cells = space_to_channel(features, downsample_rate(kind))
            assert torch.equal(cells, PROJECTORS[f"{kind}.h{side}.space_to_channel"])


@pytest.mark.parametrize("case", sorted({name.rpartition(".")[0] for name in NATIVE}))
def test_the_mlp_downsample_of_2024_is_column_major(case):
    features = PROJECTORS[f"mlp_downsample.{case.rpartition('.')[2]}.input"]
    assert torch.equal(space_to_channel(features, 2, "column"), NATIVE[f"{case}.space_to_channel"])
    assert_near(projector("mlp_downsample", "column")(features), NATIVE[f"{case}.output"])


def frame_features():
    model = checkpoint("nvila_video_tiny")
    frames = [PreparedImage(frame[None]) for frame in normalised(ENCODERS["frames_u8_chw"], model)]
    return torch.stack(encode(model, *frames))


def test_frames_of_the_encoder_cases():
    assert_near(frame_features(), ENCODERS["frame_features"])


@pytest.mark.parametrize("name", ENCODER_CASES)
def test_encoders(name):
    raw, ids = ENCODER_CASES[name]["config"], ENCODER_CASES[name]["token_ids"]
    target = raw["_target_"].rpartition(".")[2]
    config = EncoderConfig(NAMES[target], pool_sizes=tuple(tuple(size) for size in raw.get("pool_sizes", ())))
    start, end, sep = (
        None if ids[key] is None else ENCODERS["embed_tokens_weight_used"][torch.tensor(ids[key])].float()
        for key in ("start_tokens", "end_tokens", "sep_tokens")
    )
    tokens, features = EncoderTokens(start, end, sep), frame_features()
    if target == "BasicImageEncoder":
        outputs = [encode_image(frame, config, tokens) for frame in features[:2]]
    else:
        outputs = [encode_video(frames, config, tokens) for frames in (features, features.flip(0))]
    assert_near(outputs[0], ENCODERS[f"{name}.out0"])
    if f"{name}.out1" in ENCODERS:
        assert_near(outputs[1], ENCODERS[f"{name}.out1"])


def test_pixels_follow_the_processor_mean_and_std():
    vision = VisionConfig(8, 8, 1, 1, 2, 1, 1e-6, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    white = normalise_pixels(torch.full((1, 2, 2, 3), 255, dtype=torch.uint8), vision, torch.float32)
    wanted = [(1 - mean) / std for mean, std in zip(vision.mean, vision.std, strict=True)]
    assert white[0, :, 0, 0].tolist() == pytest.approx(wanted, rel=1e-6)
