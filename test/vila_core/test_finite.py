"""Weights and activations that are not finite: one line that names the stage, and nothing of them is kept."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from vila_core.config import HistoryConfig, NavigatorConfig
from vila_core.engine.backend import EMBEDDED_CHECKPOINT, load_backend
from vila_core.engine.cached_decoder import CachedDecoder
from vila_core.engine.decode import whole_pass
from vila_core.engine.finite import first_stage
from vila_core.engine.naive_backend import NaiveBackend
from vila_core.engine.reply_trie import build_trie, choose_reply
from vila_core.engine.static_decoder import StaticDecoder
from vila_core.engine.torch_backend import TorchBackend
from vila_core.errors import CheckpointError, NotFiniteError
from vila_core.models.kv_cache import append
from vila_core.navigator import Navigator
from vila_core.random_checkpoints.make import make_random
from vila_core.random_checkpoints.shapes import model_shape, tiny
from vila_core.testing import make_frame
from vila_core.types import Frame, HoldReason, Instruction, Odometry, Pose, Prompt, Visual
from vila_tools.cli import main as vila

NAN, INF = float("nan"), float("inf")
REPLIES = ("left", "right")


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("finite")
    for like in ("nvila-lite-2b", "navila-8b"):
        make_random(folder / like, tiny(model_shape(like)), name=like)
    return folder


def edited(source: Path, target: Path, part: str, name: str, change) -> Path:
    """A copy of the checkpoint, tensors of the part whose names hold the word changed."""
    shutil.copytree(source, target)
    (file,) = (target / part).glob("*.safetensors")
    tensors = load_file(file)
    found = [value for key, value in tensors.items() if name in key]
    assert found
    for value in found:
        change(value)
    save_file(tensors, file, metadata={"format": "pt"})
    return target


def prompt_of(frame: Frame) -> Prompt:
    return Prompt("a <image> b", (Visual(frame),))


DAMAGES = {
    "tower": ("vision_tower", "layers.0.layer_norm1.weight", NAN, "layer 0 of the vision tower", "layer_norm1.weight"),
    "patches": ("vision_tower", "patch_embedding.w", INF, "the patch embedding of the vision tower", "patch_.*weight"),
    "projector": ("mm_projector", "weight", NAN, "the projector", "layers.*weight"),
    "layer": ("llm", "layers.1.mlp.down_proj.weight", INF, "layer 1 of the language model", "mlp.down_proj.weight"),
    "norm": ("llm", "model.norm.weight", INF, "the last norm of the language model", "weight"),
    "table": ("llm", "embed_tokens.weight", NAN, "the token table", "weight"),
}


@pytest.mark.parametrize("backend", ["torch", "torch-naive"])
@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("like", ["nvila-lite-2b", "navila-8b"])
def test_the_stage_is_named_however_the_model_is_asked(made, tmp_path, like, damage, backend) -> None:
    part, name, value, stage, weight = DAMAGES[damage]
    path = edited(made / like, tmp_path / "a", part, name, lambda tensor: tensor.fill_(value))
    model = load_backend(backend, path, precision="float32")
    prompt = prompt_of(make_frame())
    for ask in (
        lambda: model.choose(prompt, REPLIES),
        lambda: model.choose_each([prompt, prompt], [REPLIES, REPLIES]),
        lambda: model.generate(prompt, 4),
    ):
        line = rf"not finite: it began in {stage}, whose {weight} is not finite; .*`vila info --check CHECKPOINT`"
        with pytest.raises(NotFiniteError, match=line) as found:
            ask()
        assert "\n" not in str(found.value)


def test_an_overflow_of_float16_says_what_to_take_instead(made, tmp_path) -> None:
    path = edited(made / "navila-8b", tmp_path / "a", "llm", "mlp", lambda tensor: tensor.mul_(3e3))
    prompt = prompt_of(make_frame())
    with pytest.raises(NotFiniteError, match=r"began in layer \d of the lang.* try precision bfloat16 or float32"):
        load_backend("torch", path, precision="float16").choose(prompt, REPLIES)
    assert sum(load_backend("torch", path, precision="float32").choose(prompt, REPLIES).probabilities) == pytest.approx(
        1
    )


def test_weights_that_are_read_for_a_reply_alone_are_found(made) -> None:
    prompt, replies = prompt_of(make_frame()), ("left a", "left b")
    model = load_backend("torch", made / "nvila-lite-2b", precision="float32").model
    table = model.language_model.embed_tokens.weight
    table.data[model.tokenizer.encode("left")[0]] = NAN
    for kind in (TorchBackend, NaiveBackend):
        with pytest.raises(NotFiniteError, match="it began in the token table, whose weight is not finite"):
            kind(model, "float32").choose(prompt, replies)


@pytest.mark.parametrize("value", [NAN, INF, -INF])
def test_a_single_value_of_the_head_is_found(made, value) -> None:
    model = load_backend("torch", made / "navila-8b", precision="float32").model
    model.language_model.lm_head.weight.data[model.tokenizer.encode("left")[0], 5] = value
    for kind in (TorchBackend, NaiveBackend):
        with pytest.raises(NotFiniteError, match="it began in the language head, whose weight is not finite"):
            kind(model, "float32").choose(prompt_of(make_frame()), REPLIES)


@pytest.mark.parametrize("scores", [(0.0, NAN), (INF, 0.0), (-INF, 0.0), (-INF, -INF)])
def test_scores_that_are_not_finite_are_no_probabilities(scores) -> None:
    with pytest.raises(NotFiniteError, match="the scores of the replies are not finite"):
        choose_reply(build_trie([(1, 0), (2, 0)]), [np.array(scores, np.float32)])


def test_the_largest_finite_scores_are_probabilities() -> None:
    choice = choose_reply(build_trie([(1, 0), (2, 0)]), [np.array((3e38, -3e38), np.float32)])
    assert choice.probabilities == (1.0, 0.0)


def test_weights_beyond_float16_are_named_when_they_are_loaded(made, tmp_path) -> None:
    path = edited(made / "navila-8b", tmp_path / "a", "llm", "up_proj", lambda tensor: tensor.view(-1)[:1].fill_(-7e4))
    with pytest.raises(
        CheckpointError, match=r"layers\.\d\.mlp\.up_proj.* 70144, and float16 nothing above 65504; .*bfloat16"
    ):
        load_backend("torch", path, precision="float16")
    assert load_backend("torch", path, precision="bfloat16").info.precision == "bfloat16"


def test_nothing_is_quantized_that_is_not_finite(made, tmp_path, capsys) -> None:
    path = edited(made / "navila-8b", tmp_path / "a", "llm", "up_proj", lambda tensor: tensor.view(-1)[:1].fill_(NAN))
    assert vila(["quantize", str(path), "--out", str(tmp_path / "out"), "--plain"]) == 2
    assert "hold NaN or infinity, the first is llm/model.safetensors: model.layers." in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("bits", [4, 8])
def test_scales_that_are_not_finite_are_found_by_the_quantized_kernels_too(made, tmp_path, bits) -> None:
    out = tmp_path / "q"
    assert vila(["quantize", str(made / "navila-8b"), "--out", str(out), "--plain", "--bits", str(bits)]) == 0
    prompt = prompt_of(make_frame())
    assert sum(load_backend("torch", out, precision="float32").choose(prompt, REPLIES).probabilities) == pytest.approx(
        1
    )
    for part, name, stage in (
        ("llm", "layers.1.mlp.up_proj.scales", "layer 1 of the language model"),
        ("vision_tower", "layers.0.self_attn.q_proj.scales", "layer 0 of the vision tower"),
        ("vision_tower", "layers.0.layer_norm1.weight", "layer 0 of the vision tower"),
    ):
        path = edited(out, tmp_path / name, part, name, lambda tensor: tensor.view(-1)[:1].fill_(NAN))
        for precision in ("float32", "bfloat16"):
            with pytest.raises(NotFiniteError, match=f"it began in {stage}"):
                load_backend("torch", path, precision=precision).choose(prompt, REPLIES)
        assert vila(["info", str(path), "--check"]) == 2


@pytest.fixture
def nano() -> TorchBackend:
    backend = load_backend("torch", EMBEDDED_CHECKPOINT, precision="float32")
    assert isinstance(backend, TorchBackend)
    return backend


def spoiled(backend: TorchBackend, monkeypatch, count: int) -> None:
    """The next pictures' visual tokens are NaN, as after a fault of the memory; later ones are not."""
    encode, left = backend.model.encode_frames, [count]

    def faulty(frames):
        left[0] -= 1
        return encode(frames) * (NAN if left[0] >= 0 else 1.0)

    monkeypatch.setattr(backend.model, "encode_frames", faulty)


@pytest.mark.parametrize("ask", ["choose", "generate", "relevance"])
def test_nothing_of_a_faulty_pass_is_kept(nano, monkeypatch, ask) -> None:
    prompt = Prompt("go: <image> ", (Visual(make_frame(seed=1)),))
    calls = {
        "choose": lambda: nano.choose(prompt, REPLIES),
        "generate": lambda: nano.generate(prompt, 3),
        "relevance": lambda: nano.relevance("a red chair", [make_frame(seed=1)]),
    }
    wanted = calls[ask]()
    nano.encoder.forget()
    nano._scorer.forget()
    nano.decoder.forget()
    spoiled(nano, monkeypatch, 1)
    with pytest.raises(NotFiniteError):
        calls[ask]()
    assert calls[ask]() == pytest.approx(wanted) if ask == "relevance" else calls[ask]() == wanted
    assert not bool(nano.decoder._kv.keys.isnan().any())


@torch.inference_mode()
def test_fixed_shapes_forget_what_was_in_their_padding(nano) -> None:
    """A GPU's buffers, run as they are: what is left in them is multiplied, and seen in a cache that is full."""
    config = nano.model.config.language
    decoder = CachedDecoder(nano.model, rows=20)
    decoder._forward = StaticDecoder(nano.model.language_model, decoder._kv, record=False)
    inputs = torch.ones(1, 16, config.hidden_size)
    for value, count in ((NAN, 16), (1.0, 5)):
        hidden = decoder._forward(value * inputs[:, :count], torch.arange(count), append(decoder._kv, 0, count))
        assert bool(hidden.isfinite().all()) == (value == 1.0)
        decoder.forget()


def test_what_is_prefilled_ahead_of_time_is_looked_at(nano, monkeypatch) -> None:
    ahead, now = Prompt("go: <image> ", (Visual(make_frame(seed=1)),), cache_slot="a"), Prompt("stop", cache_slot="b")
    wanted = nano.choose(now, REPLIES)
    spoiled(nano, monkeypatch, 1)
    with pytest.raises(NotFiniteError, match="the prefilled states are not finite: a second pass finds it nowhere"):
        nano.prefill(ahead)
    assert nano.choose(now, REPLIES) == wanted
    nano.prefill(ahead)


def test_a_decision_holds_with_its_own_reason_and_the_next_one_moves(nano, monkeypatch) -> None:
    navigator = Navigator(nano, NavigatorConfig(decision_deadline_s=600.0), HistoryConfig())
    navigator.start(Instruction("go to the red chair"))
    spoiled(nano, monkeypatch, 1)
    decisions = []
    for number in (1, 2):
        frame = dataclasses.replace(make_frame(seed=number), stamp_ns=number * 10**8)
        navigator.observe(frame, Odometry(frame.stamp_ns, Pose()))
        decisions.append(navigator.decide(frame.stamp_ns))
    assert decisions[0].action is None and decisions[0].hold is HoldReason.NOT_FINITE
    assert decisions[0].detail.startswith("NotFiniteError: the scores of the replies are not finite: ")
    assert decisions[1].action is not None


def test_layers_that_were_joined_are_joined_again(nano) -> None:
    prompt = Prompt("go: <image> ", (Visual(make_frame()),))
    was = nano.model.language_model._stack is not None
    assert first_stage(nano.model, lambda: whole_pass(nano.model, prompt)) is None
    assert (nano.model.language_model._stack is not None) == was


def test_chat_and_decide_say_it_in_one_line(made, tmp_path, capsys) -> None:
    path = edited(made / "nvila-lite-2b", tmp_path / "a", "llm", "model.norm.weight", lambda tensor: tensor.fill_(NAN))
    from PIL import Image

    (tmp_path / "pictures").mkdir()
    for number in range(2):
        Image.fromarray(make_frame(seed=number).image).save(tmp_path / f"pictures/{number}.png")
    for command in (
        ["chat", str(path), "--image", str(tmp_path / "pictures/0.png"), "--max-new-tokens", "4", "what?"],
        ["decide", str(path), "--images", str(tmp_path / "pictures"), "go to the door"],
    ):
        assert vila(command) == 2
        told = capsys.readouterr().err.splitlines()[-1]
        assert "not finite: it began in the last norm of the language model, whose weight is not finite" in told


def test_info_check_finds_them_in_the_files(made, tmp_path, capsys) -> None:
    source = made / "nvila-lite-2b"
    assert vila(["info", str(source), "--check"]) == 0
    assert '"odd_tensors": 0, "damaged_tensors": 0' in capsys.readouterr().out

    def spoil(tensor: torch.Tensor) -> None:
        tensor.view(-1)[:3] = torch.tensor([NAN, INF, -INF])

    damaged = edited(source, tmp_path / "a", "llm", "layers.1.mlp.up_proj.weight", spoil)
    assert vila(["info", str(damaged), "--check"]) == 2
    told = capsys.readouterr()
    assert "model.layers.1.mlp.up_proj.weight: 1 NaN, 2 infinite" in told.out
    assert "1 tensors hold NaN or infinity, the first is llm/model.safetensors: model.layers.1" in told.err
    blank = edited(source, tmp_path / "b", "vision_tower", "layer_norm1.weight", lambda tensor: tensor.zero_())
    assert vila(["info", str(blank), "--check"]) == 0
    assert "layer_norm1.weight: all zeros" in capsys.readouterr().out


@pytest.mark.parametrize(("value", "told"), [(-INF, "1 infinite"), (7e4, "1 too large for float16"), (NAN, "1 NaN")])
def test_info_check_reads_pickled_weights_too(made, tmp_path, capsys, value, told) -> None:
    path = edited(
        made / "navila-8b", tmp_path / "a", "llm", "down_proj", lambda tensor: tensor.view(-1)[-1:].fill_(value)
    )
    (file,) = (path / "llm").glob("*.safetensors")
    torch.save(load_file(file), file.with_name("weights.pt"))
    file.unlink()
    assert vila(["info", str(path), "--check"]) == (0 if value == 7e4 else 2)
    assert f"llm/weights.pt: model.layers.0.mlp.down_proj.weight: {told}" in capsys.readouterr().out
