"""Quantized checkpoints: ours written and read again, TinyChat's and AutoAWQ's read, and all of them run."""

from __future__ import annotations

import copy
import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from bag_files import padded_image, png_image, write_mcap
from film_files import LEVELS, write_film
from PIL import Image
from safetensors.torch import load_file, save_file

from vila_core.actions.grammar import SENTENCES
from vila_core.config import HistoryConfig, NavigatorConfig
from vila_core.engine.backend import EMBEDDED_CHECKPOINT
from vila_core.engine.torch_backend import load_torch_backend
from vila_core.errors import CheckpointError, ConfigError, MediaError
from vila_core.kernels.library import kernels
from vila_core.models.stored.checkpoint import load_checkpoint
from vila_core.models.working_precision import precision_label, weight_bytes
from vila_core.navigator import Navigator, decision_prompt
from vila_core.quantization.awq_block import LINEARS
from vila_core.quantization.formats.autoawq import pack_exllama, pack_gemm
from vila_core.quantization.formats.nibbles import pack_int32
from vila_core.quantization.formats.tinychat import pack_v1, pack_v2, pack_v2_scales, padded_groups
from vila_core.quantization.groupwise import dequantize_groups, quantize_groups
from vila_core.quantization.int8_linear import Int8Linear
from vila_core.quantization.linear import QuantLinear
from vila_core.quantized_checkpoints import quantize as quantize_decoder_module
from vila_core.random_checkpoints.make import make_random
from vila_core.random_checkpoints.shapes import SHAPES, tiny
from vila_core.testing import make_frame
from vila_core.types import Instruction
from vila_core.version import package_version
from vila_tools.benchmark.load import measure_load
from vila_tools.checkpoint.info import checkpoint_facts
from vila_tools.cli import main as vila
from vila_tools.quantize.run import main as quantize
from vila_tools.quantize.sources import bag_rollouts, film_rollout

LENIENT = NavigatorConfig(decision_deadline_s=600.0, max_image_age_s=60.0)


def random_checkpoint(folder, like="vila1.5-3b", layout="classic"):
    """Wide enough for groups of 128, and of two of them."""
    shape = tiny(SHAPES[like])
    wide = dataclasses.replace(shape.decoder, hidden_size=128, intermediate_size=256)
    make_random(folder, dataclasses.replace(shape, decoder=wide), name=like, layout=layout)
    return folder


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    return random_checkpoint(tmp_path_factory.mktemp("plain") / "vila")


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    folder = tmp_path_factory.mktemp("images")
    for number in range(12):
        Image.fromarray(make_frame(number).image).save(folder / f"{number}.png")
    return folder


@pytest.fixture(scope="module")
def nano4(tmp_path_factory, images):
    out = tmp_path_factory.mktemp("made") / "nano4"
    assert quantize([str(EMBEDDED_CHECKPOINT), "--out", str(out), "--calibration", str(images), "--tokens", "600"]) == 0
    return out


def logits(model):
    torch.manual_seed(0)
    embeddings = torch.randn(1, 7, model.config.language.hidden_size)
    with torch.inference_mode():
        return model.language_model.logits(model.language_model(embeddings, torch.arange(7)))


def tower(model):
    torch.manual_seed(0)
    with torch.inference_mode():
        return model.vision_tower(torch.rand(2, 3, *(model.config.vision.image_size,) * 2) * 2 - 1)


def off(got, wanted):
    return float((got - wanted).norm() / wanted.norm())


# our own format


def test_our_own_checkpoint_comes_back_and_says_what_was_done(nano4):
    raw = json.loads((nano4 / "config.json").read_text())["quantization_config"]
    assert raw["quant_method"] == "vila-nav" and raw["calibration"]["tokens"] >= 512
    assert len(raw["calibration"]["sha256"]) == 64 and raw["made_with"] == {
        "vila-nav": package_version(),
        "torch": torch.__version__,
    }
    assert raw["parts"]["llm"]["bits"] == 4 and raw["parts"]["llm"]["head"]["copied_from_embedding"]
    assert raw["parts"]["vision_tower"]["bits"] == 8 and not (nano4 / ".quantize").exists()
    model, wanted = load_checkpoint(nano4), load_checkpoint(EMBEDDED_CHECKPOINT)
    linears = [model.language_model.layers[3].get_submodule(name) for name in LINEARS]
    assert all(isinstance(linear, QuantLinear) for linear in [*linears, model.language_model.lm_head])
    assert isinstance(model.vision_tower.encoder.layers[0].mlp.fc2, Int8Linear)
    assert off(tower(model), tower(wanted)) < 0.03
    assert off(logits(model), logits(wanted)) < 0.15
    assert torch.equal(model.language_model.embed_tokens.weight, wanted.language_model.embed_tokens.weight)
    assert precision_label(model, "bfloat16") == "language w4a16, vision w8a8, bfloat16"
    head = weight_bytes(wanted.relevance_head)  # stays as it is
    assert weight_bytes(model) - head < 0.4 * (weight_bytes(wanted) - head)
    assert measure_load(nano4, precision="float32")["weights_mb"] == pytest.approx(weight_bytes(model) / 1e6, abs=1e-3)


def test_a_quantized_checkpoint_runs_like_any_other(nano4):
    backends = [load_torch_backend(path, device="cpu", precision="float32") for path in (nano4, EMBEDDED_CHECKPOINT)]
    prompt = decision_prompt(backends[0].info, Instruction("go to the red chair."), [make_frame(n) for n in range(5)])
    one, other = (np.array(backend.choose(prompt, SENTENCES).probabilities) for backend in backends)
    assert np.abs(one - other).max() < 0.3 and one.sum() == pytest.approx(1.0)
    assert isinstance(backends[0].generate(prompt, 5), str)
    language = "w4a16" if kernels() is None else "w4a8"  # the CPU's kernels round the inputs too
    eyes = "" if kernels() is None else ", relevance w8a8"
    assert backends[0].info.precision == f"language {language}, vision w8a8{eyes}, float32"
    navigator = Navigator(backends[0], LENIENT, HistoryConfig())
    navigator.start(Instruction("go to the red chair."))
    navigator.observe(make_frame(1), None)
    decision = navigator.decide(2)
    assert decision.action is not None and len(decision.probabilities) == 10


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_the_rest_may_be_of_another_precision(nano4, precision):
    model = load_checkpoint(nano4, precision=precision)
    linear = model.language_model.layers[0].self_attn.q_proj
    assert linear.scales.dtype == torch.float16 and linear.bias.dtype == getattr(torch, precision)
    assert model.vision_tower.encoder.layers[0].mlp.fc1.scales.dtype == torch.float32
    backend = load_torch_backend(nano4, device="cpu", precision=precision)
    prompt = decision_prompt(backend.info, Instruction("go to the red chair."), [make_frame(0)])
    assert sum(backend.choose(prompt, SENTENCES).probabilities) == pytest.approx(1.0)


def test_info_tells_the_precision(nano4, plain, capsys):
    found = checkpoint_facts(nano4)["quantized"]
    assert found["llm"]["precision"] == "w4a16" and found["vision_tower"]["precision"] == "w8a8"
    assert "mm_projector" not in found and 0.5 < found["llm"]["mb"] < 0.7
    assert checkpoint_facts(plain)["quantized"] == {}
    assert vila(["info", str(nano4)]) == 0
    assert "llm precision w4a16" in capsys.readouterr().out


def test_eight_bits_are_closer_than_four(tmp_path, images, nano4, capsys):
    args = ["--calibration", str(images), "--tokens", "600", "--bits", "8"]
    assert quantize([str(EMBEDDED_CHECKPOINT), "--out", str(tmp_path / "nano8"), *args]) == 0
    said = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert said["bits"] == 8 and said["mb"] < said["mb_before"]
    eight, four, wanted = (load_checkpoint(path) for path in (tmp_path / "nano8", nano4, EMBEDDED_CHECKPOINT))
    assert precision_label(eight, "float32") == "language w8a8, vision w8a8, float32"
    assert off(logits(eight), logits(wanted)) < 0.5 * off(logits(four), logits(wanted))
    assert off(tower(eight), tower(wanted)) < 0.03


@pytest.mark.parametrize(
    ("like", "layout"), [("nvila-lite-2b", "classic"), ("nvila-8b", "hf"), ("nvila-8b", "hf-preview")]
)
def test_every_layout_stays_what_it_is(tmp_path, like, layout):
    source = random_checkpoint(tmp_path / "source", like, layout)
    assert quantize([str(source), "--out", str(tmp_path / "out"), "--plain", "--no-vision"]) == 0
    model, wanted = load_checkpoint(tmp_path / "out"), load_checkpoint(source)
    assert model.config == dataclasses.replace(wanted.config, name=model.config.name)
    assert torch.equal(tower(model), tower(wanted))
    assert off(logits(model), logits(wanted)) < 0.3
    assert json.loads((tmp_path / "out" / "config.json").read_text())["quantization_config"]["calibration"] == {}


def test_a_stopped_run_goes_on_where_it_was(tmp_path, images, nano4, monkeypatch):
    out = tmp_path / "out"
    args = [str(EMBEDDED_CHECKPOINT), "--out", str(out), "--calibration", str(images), "--tokens", "600"]
    done = []

    def search(*given, **options):
        if len(done) == 2:
            raise KeyboardInterrupt
        done.append(1)
        return kept(*given, **options)

    kept = quantize_decoder_module.search_block
    monkeypatch.setattr(quantize_decoder_module, "search_block", search)
    with pytest.raises(KeyboardInterrupt):
        quantize(args)
    assert not (out / "config.json").exists()
    with pytest.raises(ConfigError, match="unfinished work of other options"):
        quantize([*args, "--group", "64"])
    searched = []
    monkeypatch.setattr(quantize_decoder_module, "search_block", lambda *a, **k: searched.append(1) or kept(*a, **k))
    assert quantize(args) == 0 and len(searched) == 2
    for part in ("llm", "vision_tower", "mm_projector"):
        one, other = (load_file(path / part / "model.safetensors") for path in (out, nano4))
        assert one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def test_what_cannot_be_done_is_said(tmp_path, images, nano4, plain):
    source, out = [str(EMBEDDED_CHECKPOINT), "--out"], str(tmp_path / "out")
    few = tmp_path / "few"
    few.mkdir()
    shutil.copy(images / "0.png", few / "0.png")
    with pytest.raises(ConfigError, match=r"has \d+ tokens in 1 prompts; at least 512"):
        quantize([*source, out, "--calibration", str(few)])
    with pytest.raises(ConfigError, match="give --calibration DIR"):
        quantize([*source, out])
    with pytest.raises(ConfigError, match="one of"):
        quantize([*source, out, "--calibration", str(images), "--bag", "x"])
    with pytest.raises(MediaError, match="holds no image"):
        quantize([*source, out, "--calibration", str(plain / "mm_projector")])
    with pytest.raises(CheckpointError, match="is quantized already"):
        quantize([str(nano4), "--out", out, "--plain"])
    with pytest.raises(ConfigError, match="is there and not empty"):
        quantize([*source, str(images), "--plain"])


# bags


def write_bag(file, frames, encoding="rgb8"):
    """Images as they are on the topic "raw", the first one also as PNG on "compressed"."""
    images = [(number, "/raw", padded_image(pixels, encoding)) for number, pixels in enumerate(frames)]
    return write_mcap(file, [*images, (99, "/compressed", png_image(frames[0]))])


def test_a_bag_calibrates_without_ros(tmp_path):
    frames = [make_frame(number).image for number in range(12)]
    compressed, raw = bag_rollouts(write_bag(tmp_path / "run.mcap", frames), None)
    assert all(np.array_equal(seen.image, wanted) for seen, wanted in zip(raw.frames, frames, strict=True))
    assert np.array_equal(compressed.frames[0].image, frames[0]) and compressed.decisions == (1,)
    assert [len(rollout.frames) for rollout in bag_rollouts(tmp_path / "run.mcap", None, ["/compressed"])] == [1]
    args = ["--out", str(tmp_path / "out"), "--tokens", "520", "--bag", str(tmp_path / "run.mcap")]
    assert quantize([str(EMBEDDED_CHECKPOINT), *args]) == 0
    raw = json.loads((tmp_path / "out" / "config.json").read_text())["quantization_config"]
    assert raw["calibration"]["source"] == "bag"


def test_a_long_bag_is_thinned_evenly(tmp_path, monkeypatch):
    monkeypatch.setattr("vila_tools.quantize.sources._BAG_FRAMES", 4)
    frames = [np.full((2, 3, 3), number, dtype=np.uint8) for number in range(19)]
    _, rollout = bag_rollouts(write_bag(tmp_path / "run.mcap", frames, "bgr8"), "go on")
    assert [int(frame.image[0, 0, 0]) for frame in rollout.frames] == [0, 8, 16] and rollout.instruction == "go on"


def test_a_film_calibrates_as_far_as_it_goes(tmp_path, capsys):
    file = write_film(tmp_path / "a.mkv", "ffv1", range(20), pixels="bgr0")
    whole = film_rollout(file, "go on")
    assert [int(frame.image[0, 0, 0]) for frame in whole.frames] == [LEVELS * number for number in range(20)]
    assert (whole.instruction, len(whole.decisions), capsys.readouterr().err) == ("go on", 20, "")
    file.write_bytes(file.read_bytes()[: file.stat().st_size * 2 // 3])
    assert 0 < len(film_rollout(file, None).frames) < 20
    assert "a.mkv is not read as a whole: it is cut" in capsys.readouterr().err


def test_a_bag_that_cannot_be_read_is_named(tmp_path):
    (tmp_path / "run.mcap").write_bytes(b"no bag")
    with pytest.raises(MediaError, match=r"run\.mcap cannot be read as a bag"):
        list(bag_rollouts(tmp_path / "run.mcap", None))
    file = write_bag(tmp_path / "odd.mcap", [make_frame(0).image], "xyz8")
    with pytest.raises(
        MediaError,
        match="message 1 of /raw at 0 ns: image encoding 'xyz8' is not supported; publish one of: rgb8",
    ):
        list(bag_rollouts(file, None))


# search results


def test_a_search_result_is_applied(tmp_path, plain):
    model = load_checkpoint(plain)
    names = [(f"model.layers.{n}", layer) for n, layer in enumerate(model.language_model.layers)]
    scale = [
        (f"{name}.input_layernorm", tuple(f"{name}.self_attn.{p}_proj" for p in "qkv"), torch.linspace(0.5, 2, 128))
        for name, _ in names
    ]
    clip = [(f"{name}.mlp.up_proj", layer.mlp.up_proj.weight.abs().amax(1)[:, None, None] / 2) for name, layer in names]
    torch.save({"scale": scale, "clip": clip}, tmp_path / "search.pt")
    args = ["--search-result", str(tmp_path / "search.pt"), "--no-vision"]
    assert quantize([str(plain), "--out", str(tmp_path / "out"), *args]) == 0
    found = load_checkpoint(tmp_path / "out").language_model.layers[1]
    layer = names[1][1]
    assert torch.allclose(found.input_layernorm.weight, layer.input_layernorm.weight / torch.linspace(0.5, 2, 128))
    steps = found.self_attn.q_proj.scales.float().max()
    wanted = layer.self_attn.q_proj.weight * torch.linspace(0.5, 2, 128)
    assert (found.self_attn.q_proj.dequantized() - wanted).abs().max() <= 1.01 * steps
    halves = layer.mlp.up_proj.weight.abs().amax(1) / 2
    assert torch.all(found.mlp.up_proj.dequantized().abs().amax(1) <= 1.2 * halves)
    narrow = [(scale[0][0], scale[0][1], torch.ones(64)), scale[1]]
    short = [(clip[0][0], clip[0][1][:4]), clip[1]]
    for found, words in (
        ({"scale": scale[:1], "clip": clip[:1]}, "of 1 layers, the checkpoint has 2"),
        (
            {"scale": narrow, "clip": clip},
            r"another model: layer 0: \[64\] scales for self_attn.q_proj, which reads 128",
        ),
        ({"scale": scale, "clip": short}, r"another model: layer 0: clips \[4, 1, 1\] for mlp.up_proj"),
    ):
        torch.save(found, tmp_path / "search.pt")
        with pytest.raises(CheckpointError, match=words):
            quantize([str(plain), "--out", str(tmp_path / "other"), *args])


# foreign formats


def v2(found):
    scales, zeros = pack_v2_scales(found.scales, found.zeros, found.group_size)
    return {"qweight": pack_v2(found.values), "scales": scales, "scaled_zeros": zeros}


def gemv_fast(found):
    packed = v2(found)
    return {"qweight": packed["qweight"], "scales": packed["scales"], "qzeros": packed["scaled_zeros"]}


def v1(found):
    extra = padded_groups(found.scales.shape[1], found.group_size) - found.scales.shape[1]
    scales, zeros = (torch.nn.functional.pad(rows, (0, extra)) for rows in (found.scales, found.zeros))
    return {"qweight": pack_v1(found.values), "scales": scales, "qzeros": pack_int32(zeros)}


def gemm(found):
    scales = found.scales.T.contiguous()
    return {"qweight": pack_gemm(found.values), "scales": scales, "qzeros": pack_gemm(found.zeros)}


def foreign(plain, out, pack, *, pickled, config=None, group=128):
    """Write the decoder's linears in a packing; return what the model should compute then."""
    shutil.copytree(plain, out)
    tensors = {name: tensor.half() for name, tensor in load_file(out / "llm" / "model.safetensors").items()}
    wanted = copy.deepcopy(load_checkpoint(plain))
    for number, layer in enumerate(wanted.language_model.layers):
        for name in LINEARS:
            key = f"model.layers.{number}.{name}"
            found = quantize_groups(tensors.pop(f"{key}.weight"), 4, group)
            tensors |= {f"{key}.{leaf}": value for leaf, value in pack(found).items()}
            layer.get_submodule(name).weight.data = dequantize_groups(found, torch.float32)
    (out / "llm" / "model.safetensors").unlink()
    if pickled:
        torch.save(tensors, out / "llm" / "tiny-w4-g128-awq.pt")
    else:
        save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, out / "llm" / "model.safetensors")
    if config is not None:
        edit(out / "llm" / "config.json", quantization_config=config)
    return wanted


def edit(file, **changes):
    raw = json.loads(file.read_text())
    file.write_text(json.dumps({**raw, **changes}))


AWQ = {"quant_method": "awq", "bits": 4, "group_size": 128, "zero_point": True, "version": "gemm"}
FORMATS = [
    (v2, True, None),
    (v2, False, None),
    (v1, True, None),
    (gemm, False, AWQ),
    (gemm, False, None),
    (gemv_fast, False, {**AWQ, "version": "gemv_fast"}),
]


@pytest.mark.parametrize(("pack", "pickled", "config"), FORMATS)
def test_foreign_checkpoints_are_read(plain, tmp_path, pack, pickled, config):
    wanted = foreign(plain, tmp_path / "out", pack, pickled=pickled, config=config)
    model = load_checkpoint(tmp_path / "out")
    layer = model.language_model.layers[1]
    assert isinstance(layer.mlp.down_proj, QuantLinear) and layer.mlp.down_proj.group_size == 128
    assert torch.equal(layer.mlp.down_proj.dequantized(), wanted.language_model.layers[1].mlp.down_proj.weight)
    assert off(logits(model), logits(wanted)) < 1e-5
    assert precision_label(model, "float32") == "language w4a16, float32"
    assert checkpoint_facts(tmp_path / "out")["quantized"]["llm"]["precision"] == "w4a16"
    with pytest.raises(CheckpointError, match="is quantized already"):
        quantize([str(tmp_path / "out"), "--out", str(tmp_path / "again"), "--plain"])


@pytest.mark.parametrize("pack", [v2, v1, gemm])
@pytest.mark.parametrize("group", [64, 32, -1])
def test_other_group_sizes_are_padded_as_the_official_code_does(plain, tmp_path, pack, group):
    config = {**AWQ, "group_size": group}
    wanted = foreign(plain, tmp_path / "out", pack, pickled=False, config=config, group=group)
    found = load_checkpoint(tmp_path / "out").language_model.layers[0].mlp.down_proj
    assert found.group_size == (256 if group == -1 else group)
    assert torch.equal(found.dequantized(), wanted.language_model.layers[0].mlp.down_proj.weight)


def test_a_foreign_checkpoint_decides(plain, tmp_path):
    foreign(plain, tmp_path / "out", v2, pickled=True)
    backend = load_torch_backend(tmp_path / "out", device="cpu", precision="float32")
    prompt = decision_prompt(backend.info, Instruction("go to the kitchen."), [make_frame(0)])
    assert sum(backend.choose(prompt, SENTENCES).probabilities) == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({**AWQ, "quant_method": "gptq"}, "quant_method 'gptq' is not supported; supported: vila-nav, awq"),
        ({**AWQ, "quant_method": "bitsandbytes"}, "'bitsandbytes' is not supported"),
        ({**AWQ, "version": "marlin"}, "awq version 'marlin' with 4 bits"),
        ({**AWQ, "version": "gemv"}, "awq version 'gemv' with 4 bits"),
        ({**AWQ, "version": "exllama"}, "awq version 'exllama' with 4 bits"),
        ({**AWQ, "version": None, "format": "marlin"}, "awq version 'marlin' with 4 bits"),
        ({**AWQ, "bits": 8}, "awq version 'gemm' with 8 bits"),
        ({**AWQ, "zero_point": False}, "supported: gemm or gemv_fast with 4 bits and zero points"),
        ({**AWQ, "group_size": 0}, "quantization_config.group_size 0 is not a whole number of at least 1, or -1 for"),
        ({**AWQ, "group_size": None}, "group_size None is not a whole number"),
        ({**AWQ, "group_size": 96}, "is packed in a way that is not known .*group size 96"),
        ({"quant_method": "compressed-tensors", "format": "pack-quantized"}, "'compressed-tensors' is not supported"),
        ({"quant_method": "vila-nav", "version": 9}, "format version 9; this release reads 1"),
        ({**AWQ, "group_size": 64}, "is packed in a way that is not known .*group size 64"),
    ],
)
def test_a_method_that_is_not_supported_is_named(plain, tmp_path, config, words):
    foreign(plain, tmp_path / "out", gemm, pickled=False, config=config)
    with pytest.raises(CheckpointError, match=words):
        load_checkpoint(tmp_path / "out")


@pytest.mark.parametrize(
    ("leaf", "method"),
    [
        ("g_idx", "GPTQ"),
        ("weight_packed", "compressed-tensors"),
        ("weight_zero_point", "compressed-tensors"),
        ("weight_scale_inv", "FP8"),
        ("absmax", "bitsandbytes"),
        ("SCB", "bitsandbytes"),
        ("B", "Marlin"),
        ("W_q", "HQQ"),
        ("dequant_scale", "TinyChat's W8A8"),
    ],
)
def test_tensors_of_another_method_are_named(plain, tmp_path, leaf, method):
    out = Path(shutil.copytree(plain, tmp_path / "out"))
    file = out / "llm" / "model.safetensors"
    tensors = load_file(file)
    save_file({**tensors, f"model.layers.0.mlp.up_proj.{leaf}": torch.zeros(2, dtype=torch.int32)}, file)
    with pytest.raises(CheckpointError, match=f"is of {method}"):
        load_checkpoint(out)


def exllama(found):
    qweight, qzeros = pack_exllama(found)
    return {"qweight": qweight, "scales": found.scales.T.contiguous(), "qzeros": qzeros}


def short_zeros(found):
    packed = v1(found)
    return {**packed, "qzeros": packed["qzeros"].repeat(1, 2)}


def no_zeros(found):
    packed = gemm(found)
    return {"qweight": packed["qweight"], "scales": packed["scales"]}


def other_width(found):
    """v2 with columns that are no multiple of 64, though scales and zeros have the shapes of some groups."""
    packed = v2(found)
    return {**packed, "qweight": packed["qweight"][:, :-32].contiguous()}


@pytest.mark.parametrize(
    ("pack", "words"),
    [
        (exllama, "is ExLlama's or GPTQ's, with zeros one less than they are"),
        (short_zeros, r"not known .*qzeros torch\.int32 \[\d+, 2\]"),
        (no_zeros, "is not known"),
        (other_width, "is not known"),
    ],
)
def test_a_packing_that_is_not_known_is_refused_with_its_shapes(plain, tmp_path, pack, words):
    foreign(plain, tmp_path / "out", pack, pickled=False)
    with pytest.raises(CheckpointError, match=words):
        load_checkpoint(tmp_path / "out")


def test_pickles_with_anything_but_tensors_are_refused(plain, tmp_path):
    foreign(plain, tmp_path / "out", v2, pickled=True)
    file = tmp_path / "out" / "llm" / "tiny-w4-g128-awq.pt"
    for content, words in (
        ({"model.norm.weight": pytest.raises}, "without running code"),
        ({"model.norm.weight": 3}, "is a int, not a tensor"),
        ({"scale": [], "clip": []}, "give it to `vila quantize --search-result`"),
        ([torch.ones(1)], "holds no names with values"),
    ):
        torch.save(content, file)
        with pytest.raises(CheckpointError, match=words):
            load_checkpoint(tmp_path / "out")
    shutil.copy(file, file.with_name("other.pt"))
    with pytest.raises(CheckpointError, match=r"several \.pt files \(other\.pt, tiny-w4"):
        load_checkpoint(tmp_path / "out")


def test_a_quantized_tensor_of_another_kind_is_named(nano4, tmp_path):
    out = Path(shutil.copytree(nano4, tmp_path / "out"))
    file = out / "llm" / "model.safetensors"
    tensors = load_file(file)
    name = "model.layers.0.mlp.up_proj.zeros"
    save_file({**tensors, name: tensors[name].float()}, file)
    with pytest.raises(CheckpointError, match=r"up_proj\.zeros: expected torch\.uint8, got torch\.float32"):
        load_checkpoint(out)
    save_file({key: value for key, value in tensors.items() if key != name}, file)
    with pytest.raises(CheckpointError, match=r"missing, the first is 'layers\.0\.mlp\.up_proj\.zeros'"):
        load_checkpoint(out)
