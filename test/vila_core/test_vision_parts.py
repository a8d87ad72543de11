"""Tiling, S2, projectors and encoders where the official cases do not reach: inverses, mixtures, errors."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from vila_core.errors import CheckpointError, FrameError
from vila_core.models.config import EncoderConfig, ImageConfig, ProjectorConfig, VisionConfig
from vila_core.models.encoders import EncoderTokens, encode_image, encode_pictures, encode_video, encoder_tokens
from vila_core.models.preprocess import (
    PreparedImage,
    pad_on_device,
    pad_to_square,
    prepare_image,
    prepare_video,
    resize_image,
    resize_on_device,
)
from vila_core.models.projector import Projector, visual_token_count
from vila_core.models.s2 import (
    TOWER_BATCH,
    encode_dynamic_s2,
    encode_s2,
    merge_blocks,
    run_in_batches,
    split_blocks,
    tile_count,
)
from vila_core.models.tiling import TileGrid, choose_grid, cut_tiles
from vila_core.models.vision_tower import VisionTower, cut_patches

HALF = (0.5, 0.5, 0.5)
VISION = VisionConfig(6, 8, 1, 2, 16, 4, 1e-6, HALF, HALF)
DYNAMIC_S2 = ImageConfig("dynamic_s2", s2_scales=(16, 32, 48), s2_resize_index=-1, dynamic_s2=True)


def noise(height, width, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def patches(tiles):
    """A tower without weights: the mean of every 4 x 4 patch, [B, 3, S, S] -> [B, N, 3]."""
    return torch.nn.functional.avg_pool2d(tiles, 4).flatten(2).transpose(1, 2)


@given(st.integers(1, 3), st.integers(1, 4), st.integers(1, 4), st.integers(1, 3))
def test_merged_blocks_are_the_map_that_was_split(batch, rows, cols, size):
    maps = torch.randn(batch, 2, rows * size, cols * size, generator=torch.Generator().manual_seed(0))
    blocks = split_blocks(maps, (rows, cols))
    assert blocks.shape == (batch, rows * cols, 2, size, size)
    assert torch.equal(merge_blocks(blocks, (rows, cols)), maps)


@given(st.integers(1, 5), st.integers(1, 5))
def test_tiles_run_row_by_row(cols, rows):
    image = noise(rows * 8, cols * 8)
    tiles = cut_tiles(image, TileGrid(cols, rows), 8)
    assert len(tiles) == rows * cols
    for number, tile in enumerate(tiles):
        top, left = number // cols * 8, number % cols * 8
        assert np.array_equal(tile, image[top : top + 8, left : left + 8])


@given(st.integers(1, 4000), st.integers(1, 4000), st.integers(1, 4), st.integers(4, 16))
def test_no_candidate_is_nearer_than_the_grid_chosen(width, height, least, most):
    grid = choose_grid(width, height, 448, min_tiles=least, max_tiles=most)
    assert least <= grid.cols * grid.rows <= most
    near = min(
        abs(width / height - cols / rows)
        for cols in range(1, most + 1)
        for rows in range(1, most + 1)
        if least <= cols * rows <= most
    )
    assert abs(width / height - grid.cols / grid.rows) == near


def test_a_picture_is_cut_only_when_it_is_alone():
    images = ImageConfig("dynamic", max_tiles=4)
    assert len(prepare_image(noise(16, 64), VISION, images, True).tiles) == 5
    assert len(prepare_image(noise(16, 64), VISION, images, False).tiles) == 1
    assert prepare_image(noise(16, 64), VISION, DYNAMIC_S2, False).block is None
    alone = prepare_image(noise(48, 64), VISION, DYNAMIC_S2, True)
    assert (alone.block, len(alone.tiles)) == ((3, 4), 1 + 4 + 12)


def test_frames_of_a_video_are_cut_only_for_video_max_tiles():
    frames = [noise(16, 32, seed) for seed in range(3)]
    assert [len(each.tiles) for each in prepare_video(frames, VISION, ImageConfig("dynamic"))] == [1, 1, 1]
    tiled = prepare_video(frames, VISION, ImageConfig("dynamic", video_max_tiles=2))
    assert [len(each.tiles) for each in tiled] == [3, 3, 3]


@pytest.mark.parametrize(("shape", "top", "left"), [((3, 8), 2, 0), ((8, 3), 0, 2), ((5, 5), 0, 0)])
def test_padding_centres_the_picture_on_the_mean_colour(shape, top, left):
    image = np.full((*shape, 3), 9, np.uint8)
    square = pad_to_square(image, (0.5, 0.25, 0.999))
    assert square.shape == (max(shape), max(shape), 3)
    assert np.array_equal(square[top : top + shape[0], left : left + shape[1]], image)
    outside = square.reshape(-1, 3)[(square != 9).any(axis=2).ravel()]
    assert {tuple(pixel) for pixel in outside.tolist()} <= {(127, 63, 254)}


@pytest.mark.parametrize(
    "image",
    [np.zeros((4, 4), np.uint8), np.zeros((4, 4, 4), np.uint8), np.zeros((0, 4, 3), np.uint8), np.ones((4, 4, 3))],
)
def test_what_is_no_rgb_picture_is_refused(image):
    with pytest.raises(FrameError, match="expected an RGB image"):
        prepare_image(image, VISION, ImageConfig(), True)


def test_dynamic_s2_of_a_mixture_equals_each_picture_alone():
    pictures = [prepare_image(noise(48, 64), VISION, DYNAMIC_S2, tiled) for tiled in (False, True, False)]
    together = encode_pictures(patches, lambda tokens: tokens, pictures, DYNAMIC_S2)
    assert [len(tokens) for tokens in together] == [16, 12 * 16, 16]
    for picture, tokens in zip(pictures, together, strict=True):
        (alone,) = encode_pictures(patches, lambda tokens: tokens, [picture], DYNAMIC_S2)
        assert torch.equal(alone, tokens)


def test_dynamic_s2_lays_its_tokens_out_as_the_picture():
    picture = prepare_image(noise(48, 64), VISION, DYNAMIC_S2, True)
    (tokens,) = encode_pictures(patches, lambda tokens: tokens, [picture], DYNAMIC_S2)
    whole = prepare_image(noise(48, 64), VISION, DYNAMIC_S2, True).tiles[5:]
    last_scale = patches(merge_blocks(whole[None], (3, 4)))  # 48 x 64 pixels in one piece
    assert torch.allclose(tokens[:, -3:], last_scale[0], atol=1e-6)


def test_dynamic_s2_refuses_tiles_that_the_blocks_do_not_account_for():
    assert tile_count((3, 4), DYNAMIC_S2.s2_scales) == 17
    with pytest.raises(ValueError, match="need 17 tiles, got 16"):
        encode_dynamic_s2(patches, lambda tokens: tokens, torch.zeros(16, 3, 16, 16), [(3, 4)], DYNAMIC_S2)


def test_static_s2_of_a_batch_equals_each_picture_alone():
    images = ImageConfig("resize", s2_scales=(16, 32), s2_max_split_size=16)
    pixels = torch.randn(3, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    together = encode_s2(patches, pixels, images)
    assert together.shape == (3, 16, 6)
    alone = torch.cat([encode_s2(patches, each[None], images) for each in pixels])
    assert torch.allclose(together, alone, atol=1e-6)


def test_a_scale_that_cannot_be_split_evenly_is_refused():
    images = ImageConfig("resize", s2_scales=(16, 34), s2_max_split_size=16)
    with pytest.raises(CheckpointError, match="34 cannot be cut into 3 x 3"):
        encode_s2(patches, torch.zeros(1, 3, 32, 32), images)


def test_many_tiles_run_in_batches():
    tiles = torch.randn(TOWER_BATCH + 5, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    assert torch.equal(run_in_batches(patches, tiles), patches(tiles))


def test_no_picture_gives_no_tokens():
    assert encode_pictures(patches, patches, [], ImageConfig()) == []


def test_the_feature_patch_drops_the_class_token():
    tower = VisionTower(VISION)
    cut = VisionTower(VisionConfig(6, 8, 1, 2, 16, 4, 1e-6, HALF, HALF, feature="patch"))
    cut.load_state_dict(tower.state_dict())
    pixels = torch.randn(1, 3, 16, 16)
    assert torch.equal(cut(pixels), tower(pixels)[:, 1:])


@pytest.mark.parametrize(("kind", "indices"), [("mlp1x_gelu", [0]), ("mlp3x_gelu", [0, 2, 4])])
def test_an_mlp_of_any_depth(kind, indices):
    names = Projector(ProjectorConfig(kind, 8, 16, "row")).state_dict()
    assert sorted(names) == sorted(f"layers.{index}.{leaf}" for index in indices for leaf in ("weight", "bias"))


@pytest.mark.parametrize("kind", ["mlp0x_gelu", "mlp2x_relu", "qformer", "mlp_downsample_5x5_fix"])
def test_an_unknown_projector_is_named_with_what_is_supported(kind):
    with pytest.raises(CheckpointError, match=f"{kind}.*supported: mlp_downsample"):
        Projector(ProjectorConfig(kind, 8, 16, "row"))


def test_an_identity_between_two_widths_is_refused():
    with pytest.raises(CheckpointError, match="8 and 16"):
        Projector(ProjectorConfig("identity", 8, 16, "row"))


@pytest.mark.parametrize(
    ("kind", "grid", "count"),
    [
        ("mlp_downsample", 27, 196),
        ("mlp_downsample", 32, 256),
        ("mlp_downsample_3x3_fix", 32, 121),
        ("linear", 27, 729),
    ],
)
def test_visual_tokens_of_the_released_sizes(kind, grid, count):
    assert visual_token_count(kind, grid) == count


def test_tsp_says_which_pool_size_does_not_fit():
    features = torch.zeros(6, 4, 8)
    with pytest.raises(FrameError, match="6 frames cannot be pooled 4 by 4"):
        encode_video(features, EncoderConfig("tsp", pool_sizes=((4, 1, 1),)), EncoderTokens())
    with pytest.raises(CheckpointError, match="2 x 2"):
        encode_video(features, EncoderConfig("tsp", pool_sizes=((1, 3, 1),)), EncoderTokens())
    with pytest.raises(CheckpointError, match="needs pool_sizes"):
        encode_video(features, EncoderConfig("tsp"), EncoderTokens())


def test_unknown_encoders_are_named():
    with pytest.raises(CheckpointError, match="'tsp' is not supported; supported: basic"):
        encode_image(torch.zeros(4, 8), EncoderConfig("tsp"), EncoderTokens())
    with pytest.raises(CheckpointError, match="'slow' is not supported; supported: basic, tsp"):
        encode_video(torch.zeros(1, 4, 8), EncoderConfig("slow"), EncoderTokens())


def test_only_the_texts_that_are_there_are_embedded():
    tokens = encoder_tokens(EncoderConfig(end_tokens="\n", sep_tokens="--"), lambda text: torch.ones(len(text), 3))
    assert tokens.start is None
    assert tokens.end is not None
    assert tokens.end.shape == (1, 3)
    assert tokens.sep is not None
    assert tokens.sep.shape == (2, 3)


def test_pictures_of_one_tile_are_entries_of_their_own():
    pictures = [PreparedImage(torch.zeros(count, 3, 16, 16)) for count in (1, 3)]
    assert len(encode_pictures(patches, lambda tokens: tokens, pictures, ImageConfig())) == 4


@pytest.mark.parametrize(("height", "width"), [(480, 640), (96, 96), (37, 121), (720, 405)])
@pytest.mark.parametrize("size", [56, 384])
def test_resizing_on_the_device_is_pillows_to_within_one_level(height, width, size):
    image = np.random.default_rng(height).integers(0, 256, (height, width, 3), dtype=np.uint8)
    wanted = resize_image(image, size).astype(int)
    got = resize_on_device(torch.from_numpy(image), size).numpy().astype(int)
    if height <= width:
        assert np.abs(got - wanted).max() <= 1
    assert np.abs(got - wanted).mean() < (0.01 if height <= width else 0.4)


@pytest.mark.parametrize(("height", "width"), [(4, 6), (7, 4), (5, 5)])
def test_padding_on_the_device_is_the_same(height, width):
    image = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    mean = (0.5, 0.2, 0.9)
    assert np.array_equal(pad_on_device(torch.from_numpy(image), mean).numpy(), pad_to_square(image, mean))


@pytest.mark.parametrize(("side", "size"), [(16, 4), (18, 4), (7, 7)])
def test_patches_times_the_weight_are_the_convolution(side, size):
    pixels, convolution = torch.randn(2, 3, side, side), torch.nn.Conv2d(3, 5, size, stride=size)
    expected = convolution(pixels).flatten(2).transpose(1, 2)
    got = torch.nn.functional.linear(cut_patches(pixels, size), convolution.weight.flatten(1), convolution.bias)
    torch.testing.assert_close(got, expected)
