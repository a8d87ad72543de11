"""What is exported computes what torch computes, and is described as it is."""

from __future__ import annotations

import contextlib
import importlib.util
import io
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import golden_dir
from PIL import Image
from safetensors.torch import load_file
from torch import nn

from vila_core.engine.backend import EMBEDDED_CHECKPOINT
from vila_core.errors import BackendError, CheckpointError, ConfigError, MissingDependencyError
from vila_core.export import builder, runtimes
from vila_core.export.builder import BuildOptions, build_engines, capability_of, graphs_to_build, profiles_of
from vila_core.export.compare import example_inputs, is_close, relative_errors
from vila_core.export.exporter import (
    ExportOptions,
    check_export,
    copy_texts,
    export_checkpoint,
    limits_of,
    make_graphs,
    plain_linears,
)
from vila_core.export.int4 import Int4GraphLinear
from vila_core.export.int8 import INT8_LEVELS, Int8GraphLinear, int8_copy
from vila_core.export.manifest import Limits, read_engines, read_manifest
from vila_core.export.onnx_file import write_onnx
from vila_core.models.preprocess import normalise_pixels
from vila_core.models.stored.checkpoint import load_checkpoint
from vila_core.quantization.linear import quantize_linear
from vila_core.testing import make_frame
from vila_tools.cli import main
from vila_tools.engine.export import read_calibration

needs_onnx = pytest.mark.skipif(
    not all(importlib.util.find_spec(name) for name in ("onnx", "onnxscript", "onnxruntime")),
    reason="could not import onnx, onnxscript and onnxruntime: pip install '.[export]'",
)
needs_rtx = pytest.mark.skipif(
    importlib.util.find_spec("tensorrt_rtx") is None,
    reason="the builder without a GPU is not installed: pip install '.[trt-check]'",
)
pytestmark = pytest.mark.slow
FRAMES = [make_frame(stamp, height=70, width=90) for stamp in range(3)]
FAMILIES = ("navila_tiny", "nvila_lite_tiny", "nvila_tiny", "nvila_video_tiny", "vila15_tiny", "vila15_s2_tiny")


def _checkpoint(name: str) -> Path:
    return EMBEDDED_CHECKPOINT if name == "vila_nano" else golden_dir("vila/checkpoints") / name


@pytest.mark.long
@needs_onnx
@pytest.mark.parametrize("name", ["navila_tiny", "nvila_lite_tiny"])
def test_onnxruntime_agrees_with_torch(name, tmp_path):
    """Vision with batches of 1 and 3, prefill, and decode with a past."""
    graphs = export_checkpoint(_checkpoint(name), tmp_path / "out", ExportOptions("float32"))
    errors = check_export(graphs, tmp_path / "out", read_manifest(tmp_path / "out"))
    assert set(errors) == {"vision", "decoder"}
    assert set(errors["decoder"]) == {"hidden", "new_keys", "new_values"}
    assert is_close(errors, "float32"), errors


@pytest.mark.long
@needs_onnx
def test_onnxruntime_agrees_with_torch_on_several_scales(tmp_path):
    """Static S2 resizes and cuts inside the graph; dynamic S2 is like a plain tower there."""
    graph = make_graphs(load_checkpoint(_checkpoint("vila15_s2_tiny")))["vision"]
    file = write_onnx(graph, tmp_path)
    for batch in (1, 3):
        errors = relative_errors(graph, file, example_inputs(graph, {"batch": batch}, batch))
        assert is_close({"vision": errors}, "float32"), errors


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """A directory that the command wrote in half precision, with 8-bit linears too, and its report."""
    pytest.importorskip("onnxscript", reason="could not import onnxscript: pip install '.[export]'")
    pictures, out = tmp_path_factory.mktemp("pictures"), tmp_path_factory.mktemp("export") / "out"
    for frame in FRAMES:
        Image.fromarray(frame.image).save(pictures / f"{frame.stamp_ns}.png")
    said = io.StringIO()
    options = ["--calibration", str(pictures), "--check", "--rows", "128", "--tokens", "32"]
    with contextlib.redirect_stdout(said):
        assert main(["engine", "export", str(_checkpoint("nvila_lite_tiny")), "--out", str(out), *options]) == 0
    return out, json.loads(said.getvalue().splitlines()[-1])


@pytest.fixture
def export(exported):
    return exported[0]


@pytest.mark.long
def test_the_command_exports_in_half_precision_and_in_8_bits(exported, capsys):
    out, report = exported
    assert report["graphs"] == ["decoder", "vision", "vision_int8"]
    assert report["close"] is True
    manifest = read_manifest(out)
    assert (manifest.precision, manifest.limits) == ("float16", Limits(8, 32, 128))
    assert manifest.graphs["vision"].inputs[0].shape == ("batch", 3, 56, 56)
    assert _quantizers(out / "vision_int8.onnx") == ({"QuantizeLinear": 8, "DequantizeLinear": 20}, "int8")
    assert not list((out / "checkpoint").rglob("*.safetensors"))
    assert main(["engine", "export", str(_checkpoint("nvila_lite_tiny")), "--out", str(out)]) == 2
    assert "holds an export already" in capsys.readouterr().err


def _quantizers(file: Path):
    """How often Q and DQ stand in the graph, which the exporter's optimiser must leave alone, and what Q makes."""
    import onnx

    graph = onnx.load(file, load_external_data=False).graph
    kinds = [node.op_type for node in graph.node]
    types = {i.name: i.data_type for i in graph.initializer}
    zeros = {types[node.input[2]] for node in graph.node if node.op_type == "QuantizeLinear"}
    counts = {kind: kinds.count(kind) for kind in ("QuantizeLinear", "DequantizeLinear")}
    return counts, "int8" if zeros == {onnx.TensorProto.INT8} else str(zeros)


@torch.inference_mode()
@pytest.mark.parametrize("name", FAMILIES)
def test_the_vision_graph_is_what_encodes_frames(name):
    model = load_checkpoint(_checkpoint(name))
    graph = make_graphs(model)["vision"]
    side = graph.inputs["pixels"].shape[-1]
    pixels = torch.randint(0, 256, (1, side, side, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    found = graph.module(normalise_pixels(pixels, model.config.vision, model.dtype))
    assert torch.allclose(found, model.encode_squares(pixels), atol=1e-5)


@torch.inference_mode()
def test_the_8_bit_tower_is_near_the_plain_one():
    model = load_checkpoint(EMBEDDED_CHECKPOINT)
    graphs = make_graphs(model, FRAMES)
    inputs = example_inputs(graphs["vision"], {"batch": 2}, 0)
    plain, rounded = (graphs[name].module(*inputs.values()) for name in ("vision", "vision_int8"))
    assert 0 < float((plain - rounded).norm() / plain.norm()) < 0.2


def test_an_8_bit_linear_rounds_by_half_a_step():
    rng = torch.Generator().manual_seed(0)
    linear, x = nn.Linear(16, 8), torch.randn(5, 16, generator=rng)
    made = Int8GraphLinear.of(linear, float(x.abs().max()), torch.float32)
    step = made.input_scale * linear.weight.abs().sum(-1) / 2 + x.abs().sum(-1)[:, None] * made.weight_scales / 2
    assert ((made(x) - linear(x)).abs() <= 1.01 * step).all()
    assert made.weight_int8.abs().max() == INT8_LEVELS


class _Stored(nn.Module):
    """An 8-bit linear as a quantized checkpoint holds it."""

    def __init__(self) -> None:
        super().__init__()
        self.in_features, self.out_features, self.bias = 4, 3, None
        self.register_buffer("weight_int8", torch.arange(12, dtype=torch.int8).view(3, 4))
        self.register_buffer("scales", torch.tensor([0.5, 0.25, 2.0]))

    def forward(self, x):
        return x @ self.dequantized(x.dtype).T

    def dequantized(self, dtype):
        return (self.weight_int8.float() * self.scales[:, None]).to(dtype)


def test_a_quantized_checkpoint_keeps_its_own_scales():
    root = nn.Sequential(nn.Sequential(_Stored()), nn.Linear(3, 3))
    made = int8_copy(root, "0", lambda module: module(torch.full((2, 4), 3.0)))
    assert isinstance(made[0][0], Int8GraphLinear)
    assert torch.equal(made[0][0].weight_int8.T, root[0][0].weight_int8)
    assert torch.equal(made[0][0].weight_scales, root[0][0].scales)
    assert made[0][0].input_scale == pytest.approx(3 / 127)
    assert made[1].weight is root[1].weight  # not copied
    wanted = root(torch.ones(1, 4))
    assert plain_linears(root, torch.float32) == 1
    assert torch.equal(root(torch.ones(1, 4)), wanted)


def test_one_step_of_8_bits_is_no_difference():
    """An input that stands between two steps may fall either way, in any precision."""
    for precision in ("float32", "float16"):
        assert is_close({"vision_int8": {"visual_tokens": 0.009}}, precision)
        assert not is_close({"vision_int8": {"visual_tokens": 0.06}}, precision)
    assert not is_close({"vision": {"visual_tokens": 0.009}}, "float32")


# a checkpoint that `vila quantize` wrote


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    folder = tmp_path_factory.mktemp("camera")
    for number in range(12):
        Image.fromarray(make_frame(number).image).save(folder / f"{number}.png")
    return folder


@pytest.fixture(scope="module")
def quantized(tmp_path_factory, pictures):
    """The tiny reference checkpoint in 4 bits, searched and calibrated, its tower W8A8."""
    out = tmp_path_factory.mktemp("quantized") / "w4"
    arguments = [str(_checkpoint("nvila_lite_tiny")), "--out", str(out), "--calibration", str(pictures)]
    with contextlib.redirect_stdout(io.StringIO()):
        assert main(["quantize", *arguments, "--tokens", "600"]) == 0
    return out


@pytest.fixture(scope="module")
def exported4(tmp_path_factory, quantized, pictures):
    pytest.importorskip("onnxscript", reason="could not import onnxscript: pip install '.[export]'")
    out, said = tmp_path_factory.mktemp("export4") / "out", io.StringIO()
    with contextlib.redirect_stdout(said):
        options = ["--calibration", str(pictures), "--check", "--rows", "128", "--tokens", "32"]
        assert main(["engine", "export", str(quantized), "--out", str(out), *options]) == 0
    return out, json.loads(said.getvalue().splitlines()[-1])


@torch.inference_mode()
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_zeros_beside_the_product_give_the_weight_that_has_them(dtype):
    """All zeros from 0 to 15: far from the 8 that TensorRT's form means."""
    torch.manual_seed(0)
    layer = quantize_linear(nn.Linear(64, 32), 16)
    layer.zeros = torch.randint(0, 16, layer.zeros.shape, dtype=torch.uint8)
    x = torch.randn(3, 5, 64)
    found, wanted = Int4GraphLinear(layer, dtype)(x.to(dtype)), layer(x)
    assert (found.float() - wanted).norm() <= (1e-6 if dtype == torch.float32 else 5e-3) * wanted.norm()


@pytest.mark.long
@needs_onnx
def test_a_4_bit_decoder_agrees_with_torch_at_a_thousandth(quantized, tmp_path):
    graph = make_graphs(load_checkpoint(quantized))["decoder_int4"]
    file = write_onnx(graph, tmp_path)
    for seed, sizes in enumerate(({"tokens": 9, "rows": 1}, {"tokens": 1, "rows": 20})):
        errors = relative_errors(graph, file, example_inputs(graph, sizes, seed))
        assert set(errors) == {"hidden", "new_keys", "new_values"} and max(errors.values()) < 1e-3, errors


@pytest.mark.long
def test_a_4_bit_decoder_is_exported_in_4_bits(exported4, quantized):
    import onnx

    out, report = exported4
    assert report["graphs"] == ["decoder_int4", "vision", "vision_int8"] and report["close"] is True
    manifest = read_manifest(out)
    assert manifest.opset == 21 and manifest.graphs["decoder_int4"].file == "decoder_int4.onnx"
    graph = onnx.load(out / "decoder_int4.onnx").graph
    kinds = [onnx.TensorProto.DataType.Name(i.data_type) for i in graph.initializer]
    layers = len(load_checkpoint(quantized).language_model.layers)
    assert kinds.count("INT4") == 7 * layers and "INT8" not in kinds
    stored = load_file(out / "embeddings.safetensors")
    assert stored["lm_head.weight_int4"].dtype == torch.uint8 and "lm_head.weight" not in stored


def test_the_decoder_can_be_made_plain_again(quantized):
    assert set(make_graphs(load_checkpoint(quantized), keep_int4=False)) == {"vision", "decoder"}


@pytest.mark.long
def test_4_bits_take_the_decoder_of_4_bits_and_others_do_not(exported4):
    graphs = graphs_to_build(read_manifest(exported4[0]), "int4")
    assert [graph.file for graph in graphs.values()] == ["vision_int8.onnx", "decoder_int4.onnx"]
    with pytest.raises(ConfigError, match="--plain-decoder"):
        graphs_to_build(read_manifest(exported4[0]), "fp16")


@pytest.mark.long
def test_4_bits_of_an_export_without_them_are_named(export):
    with pytest.raises(ConfigError, match="no 4-bit decoder"):
        graphs_to_build(read_manifest(export), "int4")


@pytest.mark.long
@needs_rtx
def test_a_4_bit_engine_is_built_ahead_of_time(exported4, capsys):
    out = exported4[0]
    options = ["--precision", "int4", "--runtime", "tensorrt-rtx", "--device-capability", "8.6"]
    assert main(["engine", "build", str(out), *options]) == 0
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["precision"] == "int4"
    assert all((out / file).stat().st_size for file in read_engines(out).files.values())


def test_what_calibration_does_not_reach_is_named():
    with pytest.raises(CheckpointError, match=r"did not reach the linear 0\.0"):
        int8_copy(nn.Sequential(nn.Sequential(nn.Linear(2, 2))), "0", lambda module: None)


@pytest.mark.parametrize(
    ("options", "limits"),
    [
        (ExportOptions(), Limits(8, 768, 4096)),
        (ExportOptions(batch=2, rows=256), Limits(2, 256, 256)),
        (ExportOptions(tokens=16), Limits(8, 16, 4096)),
    ],
)
def test_limits(options, limits):
    assert limits_of(load_checkpoint(_checkpoint("nvila_lite_tiny")), options) == limits


def test_of_a_checkpoint_s_files_only_texts_are_copied(tmp_path):
    wanted = {"config.json", "llm/merges.txt", "llm/tokenizer.model"}
    others = {".git/lfs/ab12", ".git/config.json", "llm/model.safetensors", "llm/model.safetensors.index.json", "a.mp4"}
    for name in wanted | others:
        file = tmp_path / "checkpoint" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("{}")
    copy_texts(tmp_path / "checkpoint", tmp_path / "out")
    assert {str(f.relative_to(tmp_path / "out")) for f in (tmp_path / "out").rglob("*") if f.is_file()} == wanted


@pytest.mark.parametrize("text", ["", "[]", '{"format": 99}', '{"format": 1}', '{"format": 1, "graphs": {"a": 1}}'])
def test_a_spoilt_manifest_is_named(text, tmp_path):
    (tmp_path / "manifest.json").write_text(text)
    (tmp_path / "engines.json").write_text(text)
    for read in (read_manifest, read_engines):
        with pytest.raises(CheckpointError, match=r"(manifest|engines)\.json"):
            read(tmp_path)


def test_what_was_not_exported_or_built_is_named(tmp_path):
    with pytest.raises(CheckpointError, match="vila engine export"):
        read_manifest(tmp_path)
    with pytest.raises(CheckpointError, match="vila engine build"):
        read_engines(tmp_path)
    with pytest.raises(ConfigError, match="'int2' is not supported; supported: fp16"):
        BuildOptions("int2")
    with pytest.raises(CheckpointError, match="rows 0"):
        Limits(1, 1, 0)


@pytest.mark.long
def test_profiles_cover_prefill_and_decode(export):
    manifest = read_manifest(export)
    graphs = graphs_to_build(manifest, "int8")
    assert [graph.file for graph in graphs.values()] == ["vision_int8.onnx", "decoder.onnx"]
    assert profiles_of("vision", graphs["vision"], manifest.limits) == [
        {"pixels": ((1, 1, 8), (3, 3, 3), (56, 56, 56), (56, 56, 56))}
    ]
    prefill, decode = profiles_of("decoder", graphs["decoder"], manifest.limits, decode=True)
    assert profiles_of("decoder", graphs["decoder"], manifest.limits) == [prefill]
    assert prefill["mask"] == ((1, 32, 32), (2, 160, 160))
    assert decode["mask"] == ((1, 1, 1), (2, 129, 129))
    with pytest.raises(ConfigError, match="--precision float32"):
        graphs_to_build(manifest, "fp32")


@pytest.mark.long
@needs_rtx
@pytest.mark.parametrize(("precision", "capability", "decode"), [("fp16", "8.6", 0), ("int8", "8.9", 1)])
def test_engines_are_built_ahead_of_time_without_a_gpu(export, precision, capability, decode, capsys):
    options = ["--precision", precision, "--runtime", "tensorrt-rtx", "--device-capability", capability]
    assert main(["engine", "build", str(export), *options, *["--decode-profile"] * decode]) == 0
    report = json.loads(capsys.readouterr().out.splitlines()[-1])
    engines = read_engines(export)
    assert (engines.precision, engines.device, engines.runtime) == (precision, capability, "tensorrt-rtx")
    assert engines.profiles == {"prefill": 0, "decode": decode}
    assert set(report["mb"]) == {"vision", "decoder"}
    assert all((export / file).stat().st_size for file in engines.files.values())


@pytest.mark.long
@needs_rtx
def test_a_device_that_cannot_be_built_for_is_named(export, capsys):
    options = ["--runtime", "tensorrt-rtx", "--device-capability", "8.7"]
    assert main(["engine", "build", str(export), *options]) == 2
    assert "does not build for SM87, only for SM75" in capsys.readouterr().err


@pytest.mark.long
@needs_rtx
def test_what_the_parser_refuses_is_told(export, tmp_path):
    for file in export.iterdir():
        if file.is_file():
            (tmp_path / file.name).write_bytes(file.read_bytes() if file.suffix == ".json" else b"no graph")
    with pytest.raises(BackendError, match=r"cannot read .*vision\.onnx"):
        build_engines(tmp_path, BuildOptions(runtime="tensorrt-rtx", capability="8.6"))
    assert not (tmp_path / "engines.json").exists()


@pytest.mark.long
def test_without_tensorrt_the_way_to_get_it_is_told(export, capsys, monkeypatch):
    monkeypatch.setattr(runtimes, "MODULES", {"tensorrt": "no_such_tensorrt"})
    assert main(["engine", "build", str(export)]) == 2
    assert "JetPack" in capsys.readouterr().err
    with pytest.raises(MissingDependencyError, match="tensorrt cannot be imported"):
        runtimes.load_runtime("tensorrt")


@pytest.mark.parametrize(("here", "wanted", "works"), [("8.7", "8.7", True), ("8.9", "8.7", False), ("", "8.7", False)])
def test_tensorrt_builds_only_for_the_device_it_runs_on(here, wanted, works, monkeypatch):
    monkeypatch.setattr(builder, "_device_here", lambda: here)
    if works:
        assert capability_of(None, BuildOptions(capability=wanted)) is None
    else:
        with pytest.raises(ConfigError, match=r"builds for the device it runs on, which is (8\.9|none), not 8\.7"):
            capability_of(None, BuildOptions(capability=wanted))


def test_calibration_takes_pictures_evenly(tmp_path):
    for number in range(7):
        Image.fromarray(np.full((2, 2, 3), number, np.uint8)).save(tmp_path / f"{number}.png")
    assert [int(frame.image[0, 0, 0]) for frame in read_calibration(tmp_path, 3)] == [0, 2, 4]
    assert len(read_calibration(tmp_path, 20)) == 7
