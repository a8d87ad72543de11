"""The precision that fits the machine: what "auto" takes, what is said of it, and how the measurement is kept."""

from __future__ import annotations

import json
import threading

import pytest
import torch

from vila_core.engine.backend import EMBEDDED_CHECKPOINT, load_backend
from vila_core.errors import CheckpointError, ConfigError
from vila_core.machine import arithmetic, precision
from vila_core.machine.arithmetic import Arithmetic, kept_arithmetic, measure_rates
from vila_core.machine.precision import SMALL_WEIGHTS, choose_precision
from vila_core.machine.processor import processor
from vila_core.models import working_precision as of_checkpoint
from vila_core.models.stored.checkpoint import load_checkpoint
from vila_core.models.working_precision import working_precision
from vila_core.random_checkpoints.make import make_random
from vila_core.random_checkpoints.shapes import SHAPES, tiny
from vila_tools.cli import main as vila
from vila_tools.training.autocast import autocast, autocast_precision

CPU, GPU = torch.device("cpu"), torch.device("cuda")
EMULATED = Arithmetic({"float32": 0.077, "bfloat16": 0.00096, "float16": 0.001})
QUICK = Arithmetic({"float32": 0.1, "bfloat16": 0.21, "float16": 0.001})
OLD_GPU = Arithmetic({"float32": 8.0, "bfloat16": 2.0, "float16": 60.0})
LARGE = 2_000_000_000


def measured(device):
    raise AssertionError("nothing is to be measured")


@pytest.mark.parametrize(
    ("device", "machine", "weights", "is_16_bits", "name", "said"),
    [
        (CPU, EMULATED, LARGE, True, "float32", "bfloat16 is computed 80 times slower than float32 here"),
        (CPU, QUICK, LARGE, True, "bfloat16", "computed 2.1 times as fast as float32 here"),
        (CPU, QUICK, LARGE, False, "float32", "the weights are stored in it"),
        (CPU, QUICK, SMALL_WEIGHTS - 1, True, "float32", "50.0 million weights gains nothing"),
        (CPU, Arithmetic(QUICK.rates | {"bfloat16": 0.11}), LARGE, True, "float32", "only 1.1 times as fast"),
        (CPU, Arithmetic(QUICK.rates | {"float16": 1.0, "bfloat16": 0.1}), LARGE, True, "float32", "only 1.0 times"),
        (GPU, OLD_GPU, LARGE, True, "float16", "computed 7.5 times as fast"),
        (GPU, Arithmetic(OLD_GPU.rates | {"bfloat16": 60.0}), LARGE, True, "bfloat16", "computed 7.5 times as fast"),
    ],
)
def test_auto_takes_what_the_device_computes_well(device, machine, weights, is_16_bits, name, said):
    chosen = choose_precision("auto", device, weights=weights, is_16_bits=is_16_bits, measure=lambda _: machine)
    assert chosen.name == name and said in chosen.reason and not chosen.is_slow


@pytest.mark.parametrize(
    ("asked", "machine", "is_slow"),
    [
        ("bfloat16", EMULATED, True),
        ("float16", EMULATED, True),
        ("bfloat16", QUICK, False),
        ("float16", QUICK, True),
        ("float32", EMULATED, False),
    ],
)
def test_a_name_is_taken_as_it_is_and_a_slow_one_is_warned_of(asked, machine, is_slow):
    chosen = choose_precision(asked, CPU, weights=10, is_16_bits=True, measure=lambda _: machine)
    assert (chosen.name, chosen.is_slow, bool(chosen.reason)) == (asked, is_slow, is_slow)


def test_the_warning_gives_the_factor():
    chosen = choose_precision("bfloat16", CPU, weights=10, is_16_bits=True, measure=lambda _: EMULATED)
    assert str(chosen) == (
        "bfloat16: computed 80 times slower than float32 on this device; precision 'auto' takes float32"
    )


@pytest.mark.parametrize(
    ("asked", "weights", "stored"), [("float32", LARGE, True), ("auto", 2, True), ("auto", LARGE, False)]
)
def test_what_needs_no_measurement_measures_nothing(asked, weights, stored):
    chosen = choose_precision(asked, CPU, weights=weights, is_16_bits=stored, measure=measured)
    assert chosen.name == "float32"


def test_an_unknown_name_is_refused():
    with pytest.raises(CheckpointError, match="precision 'int3' is not supported; supported: auto, bfloat16"):
        choose_precision("int3", CPU, weights=10, is_16_bits=True, measure=measured)


# --- of a checkpoint -----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def lite(tmp_path_factory):
    """A tiny checkpoint in bfloat16."""
    folder = tmp_path_factory.mktemp("precision") / "lite"
    make_random(folder, tiny(SHAPES["nvila-lite-2b"]), name="nvila-lite-2b")
    return folder


def test_the_embedded_model_stays_in_float32():
    assert working_precision(EMBEDDED_CHECKPOINT, "auto", measure=measured).name == "float32"
    assert load_checkpoint(EMBEDDED_CHECKPOINT).dtype == torch.float32


@pytest.mark.parametrize(("machine", "dtype"), [(EMULATED, torch.float32), (QUICK, torch.bfloat16)])
def test_weights_are_read_into_what_computes(machine, dtype, lite, monkeypatch):
    """As if the checkpoint were a large one."""
    monkeypatch.setattr(of_checkpoint, "SMALL_WEIGHTS", 1)
    monkeypatch.setattr(precision, "SMALL_WEIGHTS", 1)
    chosen = working_precision(lite, "auto", measure=lambda _: machine)
    model = load_checkpoint(lite, precision=chosen.name)
    assert model.dtype == dtype and chosen.name == str(dtype).removeprefix("torch.")


@pytest.mark.parametrize("name", ["torch", "torch-naive"])
def test_a_backend_names_what_auto_became_and_why(name, lite):
    backend = load_backend(name, lite)
    assert backend.info.precision == "float32" and "gains nothing from fewer bits" in backend.info.precision_reason
    assert load_backend(name, lite, precision="float32").info.precision_reason == ""


def test_a_program_tells_it_in_one_line(lite, capsys):
    assert vila(["chat", str(lite), "hello", "--max-new-tokens", "1"]) == 0
    told = capsys.readouterr()
    assert "precision float32: a model of 0." in told.err and len(told.err.splitlines()) == 1
    assert json.loads(told.out.splitlines()[-1])["precision"] == "float32"


# --- training ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("asked", "device", "machine", "name"),
    [
        ("auto", CPU, EMULATED, "float32"),
        ("auto", CPU, QUICK, "bfloat16"),
        ("auto", GPU, OLD_GPU, "float32"),
        ("bfloat16", CPU, EMULATED, "bfloat16"),
    ],
)
def test_training_multiplies_in_what_is_quick(asked, device, machine, name):
    assert autocast_precision(asked, device, measure=lambda _: machine).name == name


def test_autocast_is_on_for_bfloat16_alone():
    x = torch.ones(4, 4)
    for name in ("bfloat16", "float32"):
        with autocast(CPU, name):
            assert (x @ x).dtype == getattr(torch, name)
    with pytest.raises(ConfigError, match="precision 'float16'"):
        autocast_precision("float16", CPU, measure=measured)


# --- the measurement and its file ----------------------------------------------------------------

FACTS = {"device": "cpu", "model name": "a processor"}


def test_it_is_measured_once_and_kept(tmp_path):
    assert kept_arithmetic(FACTS, tmp_path / "new", lambda: QUICK.rates) == QUICK
    assert kept_arithmetic(FACTS, tmp_path / "new", measured) == QUICK
    assert kept_arithmetic(FACTS | {"DNNL_MAX_CPU_ISA": "AVX2"}, tmp_path / "new", lambda: EMULATED.rates) == EMULATED
    assert len(list((tmp_path / "new").iterdir())) == 2


@pytest.mark.parametrize(
    "content",
    ["", "{", "[]", "null", '{"tflops": 3}', '{"tflops": {"float32": 1}}', "\xff\xfe",
     '{"tflops": {"float32": 0, "bfloat16": 1, "float16": 1}}',
     '{"tflops": {"float32": "x", "bfloat16": 1, "float16": 1}}',
     '{"tflops": {"float32": NaN, "bfloat16": 1, "float16": 1}}'],
)  # fmt: skip
def test_a_file_that_makes_no_sense_is_measured_anew(content, tmp_path):
    kept_arithmetic(FACTS, tmp_path, lambda: EMULATED.rates)
    (file,) = tmp_path.iterdir()
    file.write_bytes(content.encode("latin-1"))
    assert kept_arithmetic(FACTS, tmp_path, lambda: QUICK.rates) == QUICK
    assert kept_arithmetic(FACTS, tmp_path, measured) == QUICK


def test_a_folder_that_cannot_be_written_only_costs_the_time(tmp_path):
    blocked = tmp_path / "file"
    blocked.write_text("not a folder")
    for folder in (blocked, blocked / "below"):
        assert kept_arithmetic(FACTS, folder, lambda: QUICK.rates) == QUICK
    assert blocked.read_text() == "not a folder"


def test_two_at_once_leave_one_whole_file(tmp_path):
    threads = [threading.Thread(target=kept_arithmetic, args=(FACTS, tmp_path, lambda: QUICK.rates)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    (file,) = tmp_path.iterdir()
    assert json.loads(file.read_text())["machine"] == FACTS


def test_what_is_measured_is_an_arithmetic_and_leaves_the_threads_alone():
    threads = torch.get_num_threads()
    rates = measure_rates(CPU)
    assert set(rates) == set(arithmetic.DTYPES) and all(rate > 1e-5 for rate in rates.values())
    assert torch.get_num_threads() == threads


@pytest.mark.parametrize(
    "switch", ["ATEN_CPU_CAPABILITY", "DNNL_MAX_CPU_ISA", "ONEDNN_MAX_CPU_ISA", "VILA_NAV_KERNELS"]
)
def test_a_switch_makes_it_another_machine(switch, monkeypatch):
    monkeypatch.delenv(switch, raising=False)
    before = arithmetic.identity(CPU)
    monkeypatch.setenv(switch, "avx2")
    assert arithmetic.identity(CPU) == before | {switch: "avx2"}


def test_a_processor_is_told_by_model_and_flags(tmp_path):
    file = tmp_path / "cpuinfo"
    file.write_text(
        "processor\t: 0\nmodel name\t: Some CPU\nflags\t\t: avx2 fma\n\nprocessor\t: 1\nmodel name\t: Other\n"
    )
    assert processor(file) == {"model name": "Some CPU", "flags": "avx2 fma"}
    assert processor(tmp_path / "missing") == {}
