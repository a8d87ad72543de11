"""The tensorrt backend: its arithmetic with onnxruntime in the engines' place, its calls on a fake of TensorRT's API.

No engine runs here: there is no GPU. What is fake says so.
"""

from __future__ import annotations

import types

import pytest
import torch

from vila_core.actions.grammar import SENTENCES
from vila_core.engine.backend import EMBEDDED_CHECKPOINT, load_backend
from vila_core.engine.naive_backend import NaiveBackend
from vila_core.engine.tensorrt.backend import assemble, load_tensorrt_backend
from vila_core.engine.tensorrt.decoder import EngineDecoder
from vila_core.engine.tensorrt.runner import EngineRunner
from vila_core.errors import BackendError, CheckpointError, MissingDependencyError, NotFiniteError
from vila_core.export import runtimes
from vila_core.export.compare import EXACT_INT4, is_close
from vila_core.export.exporter import ExportOptions, check_export, export_checkpoint
from vila_core.export.manifest import Engines, Limits, read_manifest, write_engines
from vila_core.models.kv_cache import KVCache, append
from vila_core.models.stored.checkpoint import load_checkpoint
from vila_core.quantization.linear import QuantLinear
from vila_core.testing import make_frame
from vila_core.types import Prompt, Visual
from vila_tools.cli import main

onnxruntime = pytest.importorskip("onnxruntime", reason="could not import onnxruntime: pip install '.[export]'")
pytest.importorskip("onnxscript", reason="could not import onnxscript: pip install '.[export]'")

pytestmark = pytest.mark.slow
FRAMES = [make_frame(stamp, height=96, width=96) for stamp in range(1, 5)]
ENGINES = Engines("tensorrt", "10.3.0", "fp16", "8.7", {"vision": "v", "decoder": "d"}, {"prefill": 0, "decode": 1}, {})


class OnnxRunner:
    """A graph in onnxruntime in the place of its engine; notes the profiles and what the inputs' shapes were."""

    def __init__(self, file, spec):
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.add_session_config_entry(*EXACT_INT4)
        self._session = onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
        self._spec = spec
        self.calls = []

    def run(self, tensors, profile=0):
        assert set(tensors) == {s.name for s in (*self._spec.inputs, *self._spec.outputs)}
        assert all(tensor.is_contiguous() for tensor in tensors.values())
        self.calls.append((profile, tensors))
        found = self._session.run(None, {s.name: tensors[s.name].numpy() for s in self._spec.inputs})
        for spec, value in zip(self._spec.outputs, found, strict=True):
            assert tuple(tensors[spec.name].shape) == value.shape
            tensors[spec.name].copy_(torch.from_numpy(value))


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    out = tmp_path_factory.mktemp("export") / "out"
    return out, export_checkpoint(EMBEDDED_CHECKPOINT, out, ExportOptions("float32", batch=2, tokens=48, rows=512))


@pytest.fixture(scope="module")
def folder(exported):
    return exported[0]


@pytest.fixture(scope="module")
def runners(folder):
    graphs = read_manifest(folder).graphs
    return {part: OnnxRunner(folder / graphs[part].file, graphs[part]) for part in ("vision", "decoder")}


@pytest.fixture
def backend(folder, runners):
    backend = assemble(folder, read_manifest(folder), ENGINES, runners, torch.device("cpu"))
    for runner in runners.values():
        runner.calls.clear()
    yield backend
    backend.close()


@pytest.mark.long
def test_the_embedded_model_s_graphs_agree_with_torch(exported):
    folder, graphs = exported
    errors = check_export(graphs, folder, read_manifest(folder))
    assert is_close(errors, "float32"), errors


def _prompt(count: int, words: str = "go to the red chair", cache_slot: str = "navigation") -> Prompt:
    visuals = tuple(Visual(frame, 4 if n else None) for n, frame in enumerate(FRAMES[:count]))
    return Prompt(words + "<image>" * count + "next", visuals, (), cache_slot)


@pytest.mark.long
def test_it_answers_as_torch_without_caches_does(backend, runners):
    naive = NaiveBackend(load_checkpoint(EMBEDDED_CHECKPOINT), "float32")
    steps = [_prompt(1), _prompt(3), _prompt(3), _prompt(2, "stop at the door", "door"), _prompt(4)]
    for prompt in steps:
        found, wanted = backend.choose(prompt, SENTENCES), naive.choose(prompt, SENTENCES)
        assert found.index == wanted.index
        assert found.probabilities == pytest.approx(wanted.probabilities, abs=1e-4)
        assert backend.generate(prompt, 6) == naive.generate(prompt, 6)
    assert len(runners["vision"].calls) == len(FRAMES)  # each frame once
    assert backend.decoder.prefixes.reused > backend.decoder.prefixes.prefilled


@pytest.mark.long
def test_lengths_are_few_and_one_token_has_its_own_profile(backend, runners):
    backend.generate(_prompt(3), 5)
    calls = runners["decoder"].calls
    lengths = [tensors["positions"].shape[0] for _, tensors in calls]
    assert set(lengths) <= {1, 16, 32, 48}
    assert all(profile == (1 if length == 1 else 0) for (profile, _), length in zip(calls, lengths, strict=True))
    assert {tensors["past_keys"].data_ptr() for _, tensors in calls} == {backend.decoder._kv.keys.data_ptr()}
    for name in ("embeddings", "mask", "hidden", "new_keys"):
        assert len({tensors[name].data_ptr() for _, tensors in calls}) == 1  # allocated once


@pytest.mark.long
@torch.inference_mode()
@pytest.mark.parametrize("cuts", [(0, 100), (0, 1, 2, 60, 100), (0, 48, 49, 97, 100)])
def test_a_prompt_longer_than_a_pass_is_cut(folder, runners, cuts):
    model = load_checkpoint(EMBEDDED_CHECKPOINT)
    config = model.config.language
    inputs = torch.randn(1, 100, config.hidden_size, generator=torch.Generator().manual_seed(0))
    cache = KVCache(config, 128, dtype=torch.float32, device="cpu")
    decoder = EngineDecoder(runners["decoder"], config, cache, read_manifest(folder).limits, ENGINES.profiles)
    parts = [
        decoder(inputs[:, a:b], torch.arange(a, b), append(cache, a, b - a)).clone()
        for a, b in zip(cuts, cuts[1:], strict=False)
    ]
    assert torch.allclose(torch.cat(parts, dim=1), model.language_model(inputs, torch.arange(100)), atol=1e-4)


@pytest.mark.long
@pytest.mark.parametrize(
    ("part", "output", "stage"),
    [
        ("vision", "visual_tokens", "it began in the vision tower or the projector"),
        ("decoder", "hidden", "it began in the decoder's engine"),
    ],
)
def test_what_an_engine_gives_that_is_not_finite_is_refused_and_forgotten(
    backend, runners, monkeypatch, part, output, stage
):
    wanted = backend.choose(_prompt(2), SENTENCES)
    backend.encoder.forget()
    backend.decoder.forget()
    run = runners[part].run

    def faulty(tensors, profile=0):
        run(tensors, profile)
        tensors[output].fill_(torch.nan)

    with monkeypatch.context() as patch:
        patch.setattr(runners[part], "run", faulty)
        for ask in (lambda: backend.choose(_prompt(2), SENTENCES), lambda: backend.generate(_prompt(2), 4)):
            with pytest.raises(NotFiniteError, match=stage):
                ask()
    assert backend.choose(_prompt(2), SENTENCES).probabilities == pytest.approx(wanted.probabilities, abs=1e-6)
    assert backend.choose(_prompt(0), SENTENCES).index in range(len(SENTENCES))


@pytest.mark.long
def test_frames_beyond_the_batch_go_in_parts(backend, runners):
    tokens = backend.model.encode_frames(FRAMES[:3])
    assert [len(tensors["pixels"]) for _, tensors in runners["vision"].calls] == [2, 1]
    wanted = load_checkpoint(EMBEDDED_CHECKPOINT).encode_frames(FRAMES[:3])
    assert torch.allclose(tokens, wanted, atol=1e-4)


@pytest.mark.long
def test_what_the_engines_are_too_small_for_is_refused(backend, folder, runners):
    with pytest.raises(BackendError, match=r"need \d+ rows of keys and values, the engines are made for 512"):
        backend.generate(Prompt("go to the " * 200), 3)
    config = backend.model.config.language
    cache = KVCache(config, 600, dtype=torch.float32, device="cpu")
    with pytest.raises(BackendError, match="larger --rows"):
        EngineDecoder(runners["decoder"], config, cache, Limits(1, 1, 512), ENGINES.profiles)
    with pytest.raises(BackendError, match="backend torch"):
        backend.model.vision_tower(torch.zeros(1, 3, 96, 96))


class FakeContext:
    """Notes the calls of an execution context; takes at most 8 frames, as a profile would."""

    def __init__(self, log):
        self.log, self.shapes, self.addresses = log, {}, {}

    def set_optimization_profile_async(self, profile, stream):
        self.log.append(("profile", profile))
        return profile < 2

    def get_tensor_shape(self, name):
        return self.shapes.get(name, (-1, 3))

    def set_input_shape(self, name, shape):
        self.log.append(("shape", name, shape))
        self.shapes[name] = shape
        return shape[0] <= 8

    def get_tensor_address(self, name):
        return self.addresses.get(name, 0)

    def set_tensor_address(self, name, address):
        self.log.append(("address", name))
        self.addresses[name] = address
        return True

    def execute_async_v3(self, stream):
        self.log.append(("execute", stream))
        return True


class FakeTensorRT:
    """The names of TensorRT 10's Python API that the runner uses: only which calls come, in which order."""

    __version__ = "10.3.0"
    TensorIOMode = types.SimpleNamespace(INPUT="in", OUTPUT="out")
    ExecutionContextAllocationStrategy = types.SimpleNamespace(ON_PROFILE_CHANGE="profile")

    def __init__(self):
        self.log = []
        self.num_io_tensors = 2

    def Runtime(self, logger):  # noqa: N802
        return self

    def deserialize_cuda_engine(self, plan):
        return self if plan == b"plan" else None

    def get_tensor_name(self, number):
        return ("pixels", "visual_tokens")[number]

    def get_tensor_mode(self, name):
        return "in" if name == "pixels" else "out"

    def create_execution_context(self, strategy):
        self.log.append(("context", strategy))
        return FakeContext(self.log)


def _runner(trt):
    return EngineRunner(trt, None, b"plan", torch.device("cpu"))


def test_shapes_and_addresses_are_told_when_they_change_and_before_each_run():
    trt = FakeTensorRT()
    runner = _runner(trt)
    tensors = {"pixels": torch.zeros(2, 3), "visual_tokens": torch.zeros(2, 4)}
    runner.run(tensors)
    set_up = [("context", "profile"), ("profile", 0), ("shape", "pixels", (2, 3))]
    assert trt.log == [*set_up, ("address", "pixels"), ("address", "visual_tokens"), ("execute", 0)]
    trt.log.clear()
    runner.run(tensors)
    assert trt.log == [("execute", 0)]
    runner.run(tensors | {"visual_tokens": torch.zeros(2, 4)}, profile=1)
    assert ("profile", 1) in trt.log


@pytest.mark.parametrize(
    ("tensors", "profile", "message"),
    [
        ({"pixels": torch.zeros(2, 3)}, 0, "expected the tensors"),
        ({"pixels": torch.zeros(9, 3), "visual_tokens": torch.zeros(9, 4)}, 0, r"not built for the shape \[9, 3\]"),
        ({"pixels": torch.zeros(3, 2).T, "visual_tokens": torch.zeros(2, 4)}, 0, "contiguous"),
        ({"pixels": torch.zeros(2, 3), "visual_tokens": torch.zeros(2, 4)}, 5, "profile 5"),
    ],
)
def test_what_an_engine_cannot_run_is_named(tensors, profile, message):
    with pytest.raises(BackendError, match=message):
        _runner(FakeTensorRT()).run(tensors, profile)


def test_an_engine_of_another_device_is_refused():
    with pytest.raises(BackendError, match="build it again on this device"):
        EngineRunner(FakeTensorRT(), None, b"other", torch.device("cpu"))


def test_a_tensorrt_that_does_not_start_is_told(monkeypatch):
    def nothing(self, logger):
        raise TypeError("factory function returned nullptr")

    monkeypatch.setattr(FakeTensorRT, "Runtime", nothing)
    with pytest.raises(BackendError, match="does not start here"):
        _runner(FakeTensorRT())


@pytest.mark.long
def test_loading_says_what_is_missing(folder, tmp_path, monkeypatch):
    with pytest.raises(CheckpointError, match="vila engine export"):
        load_backend("tensorrt", tmp_path, device="cuda")
    with pytest.raises(CheckpointError, match="vila engine build"):
        load_backend("tensorrt", folder, device="cuda")
    write_engines(folder, ENGINES)
    with pytest.raises(BackendError, match="exported in float32"):
        load_tensorrt_backend(folder, device="cuda", precision="float16")
    monkeypatch.setattr(runtimes, "MODULES", {"tensorrt": "no_such_tensorrt"})
    with pytest.raises(MissingDependencyError, match="JetPack"):
        load_tensorrt_backend(folder, device="cuda", precision="float32")
    monkeypatch.setattr("vila_core.engine.tensorrt.backend.load_runtime", lambda name: FakeTensorRT())
    with pytest.raises(BackendError, match="runs on 'cuda' alone"):
        load_tensorrt_backend(folder, device="cpu", precision="float32")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(BackendError, match=r"finds no CUDA device; see docs/jetson\.md"):
        load_tensorrt_backend(folder, device="cuda", precision="float32")


@pytest.mark.long
def test_the_info_tells_what_runs(backend):
    assert backend.info.precision == "tensorrt fp16"
    assert backend.info.visual_tokens == 16
    assert backend.decoder.kv_bytes == 2 * backend.decoder._kv.keys.nbytes


@pytest.mark.long
def test_a_4_bit_decoder_and_head_answer_as_torch_does(tmp_path):
    """The head stays with torch, in 4 bits."""
    assert main(["quantize", str(EMBEDDED_CHECKPOINT), "--out", str(tmp_path / "w4"), "--plain", "--no-vision"]) == 0
    export_checkpoint(tmp_path / "w4", tmp_path / "out", ExportOptions("float32", batch=2, tokens=64, rows=512))
    manifest = read_manifest(tmp_path / "out")
    files = {"vision": manifest.graphs["vision"], "decoder": manifest.graphs["decoder_int4"]}
    runners = {part: OnnxRunner(tmp_path / "out" / spec.file, spec) for part, spec in files.items()}
    backend = assemble(tmp_path / "out", manifest, ENGINES, runners, torch.device("cpu"))
    assert isinstance(backend.model.language_model.lm_head, QuantLinear)
    reference = NaiveBackend(load_checkpoint(tmp_path / "w4"), "float32")
    prompt = Prompt("go to the<image> red chair", (Visual(FRAMES[0]),), (), "navigation")
    found, wanted = (one.choose(prompt, SENTENCES).probabilities for one in (backend, reference))
    assert found == pytest.approx(wanted, abs=1e-4)
