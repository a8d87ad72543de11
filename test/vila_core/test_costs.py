"""Sizes told from a configuration alone are those of the modules that it makes."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from vila_core.models import costs
from vila_core.models.costs import Linears, Storage, count_parameters, count_weights
from vila_core.models.language_model import LanguageModel
from vila_core.models.projector import DOWNSAMPLE, Projector
from vila_core.models.stored.config_reader import read_checkpoint_config
from vila_core.models.vision_tower import VisionTower
from vila_core.random_checkpoints.make import make_random
from vila_core.random_checkpoints.shapes import SHAPES, tiny

ONE = Storage(1)  # bytes are then weights


def weights_of_modules(config):
    """Weights of each part by the modules themselves, made on "meta"."""
    with torch.device("meta"):
        parts = {
            "vision_tower": VisionTower(config.vision),
            "projector": Projector(config.projector),
            "language_model": LanguageModel(config.language),
        }
    return {name: sum(value.numel() for value in part.parameters()) for name, part in parts.items()}


@pytest.fixture(scope="module")
def lite(tmp_path_factory):
    folder = tmp_path_factory.mktemp("costs") / "lite"
    make_random(folder, tiny(SHAPES["nvila-lite-2b"]), name="lite")
    return read_checkpoint_config(folder)


@pytest.mark.parametrize("like", SHAPES)
def test_the_parts_have_as_many_weights_as_their_modules(like, tmp_path):
    make_random(tmp_path / like, tiny(SHAPES[like]), name=like)
    config = read_checkpoint_config(tmp_path / like)
    counted = weights_of_modules(config)
    assert counted == {
        "vision_tower": costs.tower_bytes(config.vision, ONE),
        "projector": costs.projector_bytes(config.projector, ONE),
        "language_model": costs.language_bytes(config.language, ONE),
    }
    assert count_parameters(config) == counted and count_weights(config) == sum(counted.values())


@pytest.mark.parametrize("kind", [*DOWNSAMPLE, "linear", "mlp2x_gelu", "mlp3x_gelu"])
def test_every_projector_is_counted(lite, kind):
    config = dataclasses.replace(lite, projector=dataclasses.replace(lite.projector, kind=kind))
    assert weights_of_modules(config)["projector"] == costs.projector_bytes(config.projector, ONE)


def test_an_identity_projector_has_no_weights(lite):
    assert costs.projector_bytes(dataclasses.replace(lite.projector, kind="identity"), ONE) == 0


@pytest.mark.parametrize(
    ("storage", "wanted"),
    [
        (Storage(4), 256 * 64 * 4 + 64 * 4),
        (Storage(2), 256 * 64 * 2 + 64 * 2),
        (Storage(2, language_bits=4), 256 * 64 // 2 + 2 * 64 * 4 + 64 * 2),
        (Storage(2, language_bits=4, group_bytes=8), 256 * 64 // 2 + 2 * 64 * 8 + 64 * 2),
        (Storage(2, language_bits=8), 256 * 64 + 64 * 4 + 64 * 2),
    ],
)
def test_a_linear_is_stored_in_so_many_bytes(storage, wanted):
    assert Linears(1, 64, 256, bias=True).stored_bytes(storage, storage.language_bits) == wanted


def test_a_quantized_head_that_was_tied_is_a_copy(lite):
    language = dataclasses.replace(lite.language, tied=True)
    untied = dataclasses.replace(language, tied=False)
    quantized = Storage(2, language_bits=4)
    assert costs.language_bytes(untied, Storage(2)) > costs.language_bytes(language, Storage(2))
    assert costs.language_bytes(untied, quantized) == costs.language_bytes(language, quantized)


@given(st.integers(1, 40000))
def test_a_group_divides_its_width(width):
    size = costs.group_size(width)
    assert width % size == 0 and size <= costs.GROUP_SIZE and size & (size - 1) == 0
    assert size == costs.GROUP_SIZE or width % (2 * size)


@pytest.fixture
def torch_alone(monkeypatch):
    """Computes without our kernels, whose operations torch does not see."""
    monkeypatch.setattr("vila_core.kernels.operations.kernels", lambda: None)


@pytest.mark.usefixtures("torch_alone")
def test_tower_flops_are_those_that_torch_counts(lite):
    vision = lite.vision
    tower = VisionTower(vision).eval().requires_grad_(False)
    pixels = torch.zeros(1, 3, vision.image_size, vision.image_size)
    assert costs.tower_flops(vision) == pytest.approx(counted(tower, pixels), rel=0.01)


@pytest.mark.usefixtures("torch_alone")
def test_prefill_flops_are_those_that_torch_counts_but_for_what_is_not_seen(lite):
    language, new = lite.language, 48
    model = LanguageModel(language).eval().requires_grad_(False)
    whole = counted(model, torch.zeros(1, new, language.hidden_size), torch.arange(new))
    unseen = 4.0 * language.heads * language.head_dim * language.layers * (new * (new - 1) / 2)
    assert costs.prefill_flops(language, new, 0) == pytest.approx(whole - unseen, rel=0.01)


@given(st.integers(1, 500), st.integers(1, 500), st.integers(0, 500))
def test_reading_in_two_parts_costs_what_reading_at_once_does(lite, first, second, past):
    language = lite.language
    parts = costs.prefill_flops(language, first, past) + costs.prefill_flops(language, second, past + first)
    assert parts == pytest.approx(costs.prefill_flops(language, first + second, past))


@pytest.mark.parametrize(("like", "tiles"), [("nvila-lite-2b", 1), ("nvila-8b", 1), ("vila1.5-3b-s2", 5)])
def test_a_frame_is_cut_into_the_squares_of_all_its_scales(like, tiles, tmp_path):
    make_random(tmp_path / like, tiny(SHAPES[like]), name=like)
    config = read_checkpoint_config(tmp_path / like)
    assert costs.tiles_of_frame(config.vision, config.images) == tiles


def counted(module: nn.Module, *inputs: torch.Tensor) -> float:
    from torch.nn.attention import SDPBackend, sdpa_kernel
    from torch.utils.flop_counter import FlopCounterMode

    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH), torch.inference_mode():
        module(*inputs)
    return float(counter.get_total_flops())
