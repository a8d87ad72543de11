"""What a checkpoint is predicted to occupy, against what it does; and the refusal of one that has no room."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys

import psutil
import pytest

from vila_core.engine import memory
from vila_core.engine.backend import EMBEDDED_CHECKPOINT, load_backend
from vila_core.engine.cached_decoder import cache_rows
from vila_core.engine.memory import Usage, activation_bytes, plan_memory, require_memory, stored_as, tokenizer_bytes
from vila_core.errors import BackendError, CheckpointError
from vila_core.machine import memory as machine_memory
from vila_core.machine.memory import resident_bytes
from vila_core.models.costs import Storage
from vila_core.models.stored.config_reader import config_of, read_checkpoint_config
from vila_core.models.stored.layouts import open_layout
from vila_core.random_checkpoints.make import make_random
from vila_core.random_checkpoints.shapes import SHAPES, tiny
from vila_tools.fit.libraries import libraries_mb
from vila_tools.quantize.run import main as quantize

pytestmark = pytest.mark.slow
FRAMES = 3
_CHILD = """
import sys
from pathlib import Path
import numpy as np
from vila_core.actions.grammar import SENTENCES
from vila_core.engine.backend import load_backend
from vila_core.machine.memory import peak_resident_bytes, resident_bytes
from vila_core.prompts.navigation import navigation_prompt
from vila_core.types import Frame, Instruction, Visual

backend = load_backend("torch", Path(sys.argv[1]), precision=sys.argv[2])
rng, info = np.random.default_rng(0), backend.info
frames = [Frame(rng.integers(0, 256, (48, 64, 3), dtype=np.uint8), n + 1, "camera") for n in range(int(sys.argv[3]))]
visuals = [Visual(frame) for frame in frames]
prompt = navigation_prompt(info.prompt_style, info.chat_template, Instruction("to the door"), visuals, SENTENCES[:2])
backend.choose(prompt, SENTENCES[:2])
print(resident_bytes(), peak_resident_bytes())
"""


@pytest.fixture(scope="module")
def medium(tmp_path_factory):
    """A checkpoint of 220 million weights: more than the libraries take, and quick to write."""
    shape = tiny(SHAPES["nvila-lite-2b"])
    sizes = {"hidden_size": 1024, "intermediate_size": 4096, "layers": 12, "heads": 16, "kv_heads": 4}
    tower = dataclasses.replace(
        SHAPES["nvila-lite-2b"].tower, image_size=224, hidden_size=512, intermediate_size=2048, layers=8, heads=8
    )
    decoder = dataclasses.replace(shape.decoder, vocab_size=8192, **sizes)
    folder = tmp_path_factory.mktemp("medium") / "medium"
    make_random(folder, dataclasses.replace(shape, decoder=decoder, tower=tower), name="medium")
    return folder


@pytest.fixture(scope="module")
def libraries():
    return libraries_mb()


@pytest.mark.long
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("which", ["vila-nano", "medium"])
def test_the_prediction_is_within_a_tenth_of_what_is_measured(which, precision, medium, libraries):
    checkpoint = EMBEDDED_CHECKPOINT if which == "vila-nano" else medium
    layout = open_layout(checkpoint)
    storage = Storage(memory.DTYPES[precision].itemsize)
    plan = plan_memory(config_of(layout), storage, Usage(FRAMES), tokenizer_bytes(layout))
    command = [sys.executable, "-c", _CHILD, str(checkpoint), precision, str(FRAMES)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    predicted = plan.total / 1e6 + libraries
    for measured in (int(figure) / 1e6 for figure in done.stdout.split()):
        assert predicted == pytest.approx(measured, rel=0.1)


def test_a_checkpoint_without_room_is_refused_with_the_numbers(monkeypatch):
    monkeypatch.setattr(memory, "available_bytes", lambda: 6_000_000)
    with pytest.raises(BackendError, match=r"in float32 would come to \d+ MB on cpu: weights 9 MB.*6 MB are available"):
        load_backend("torch", EMBEDDED_CHECKPOINT)
    with pytest.raises(BackendError, match="No precision fits"):
        load_backend("torch-naive", EMBEDDED_CHECKPOINT)
    load_backend("torch", EMBEDDED_CHECKPOINT, check_memory=False).close()


def test_the_refusal_names_the_precisions_that_would_fit(monkeypatch):
    plans = {}
    for name, dtype in memory.DTYPES.items():
        config = read_checkpoint_config(EMBEDDED_CHECKPOINT)
        plans[name] = plan_memory(config, Storage(dtype.itemsize, group_bytes=8), Usage(640), 0).total
    monkeypatch.setattr(memory, "available_bytes", lambda: (plans["float32"] + plans["float16"]) // 2)
    with pytest.raises(BackendError, match=r"Bfloat16 \(\d+ MB\) or float16 \(\d+ MB\) would fit"):
        require_memory(EMBEDDED_CHECKPOINT, device="cpu", precision="float32", frames=640)
    require_memory(EMBEDDED_CHECKPOINT, device="cpu", precision="bfloat16", frames=640)


def test_nothing_is_refused_where_nobody_tells_the_memory(monkeypatch):
    monkeypatch.setattr(memory, "available_bytes", lambda: 0)
    with pytest.raises(BackendError):
        require_memory(EMBEDDED_CHECKPOINT, device="cpu", precision="float32", frames=640)
    monkeypatch.setattr(memory, "available_bytes", lambda: None)
    require_memory(EMBEDDED_CHECKPOINT, device="cpu", precision="float32", frames=640)


def test_a_precision_that_is_not_known_is_left_to_loading():
    with pytest.raises(CheckpointError, match="'int3' is not supported"):
        load_backend("torch", EMBEDDED_CHECKPOINT, precision="int3")


def test_an_unquantized_checkpoint_is_stored_as_it_is_asked_for():
    layout = open_layout(EMBEDDED_CHECKPOINT)
    assert stored_as(layout, Storage(2)) == Storage(2)


@pytest.mark.parametrize("bits", [4, 8])
def test_a_quantized_checkpoint_is_stored_as_its_files_say(bits, tmp_path):
    assert quantize([str(EMBEDDED_CHECKPOINT), "--out", str(tmp_path), "--plain", "--bits", str(bits)]) == 0
    assert stored_as(open_layout(tmp_path), Storage(2)) == Storage(2, language_bits=bits, vision_bits=8)


@pytest.mark.parametrize(
    ("needed", "positions", "rows"), [(0, 32768, 4096), (4096, 32768, 4096), (4097, 32768, 5120), (300, 256, 512)]
)
def test_the_cache_grows_by_steps(needed, positions, rows):
    assert cache_rows(needed, positions) == rows


def test_more_of_anything_takes_more():
    config = read_checkpoint_config(EMBEDDED_CHECKPOINT)
    plan = plan_memory(config, Storage(2), Usage(10))
    assert plan_memory(config, Storage(2), Usage(11)).visual_cache > plan.visual_cache
    assert plan_memory(config, Storage(2), Usage(10, prompt_tokens=9000)).kv_cache > plan.kv_cache
    assert plan_memory(config, Storage(4), Usage(10)).weights == 2 * plan.weights
    assert plan_memory(config, Storage(2), Usage(10), tokenizer=1).tokenizer > plan.tokenizer
    assert activation_bytes(config, Storage(2), 4096, graphs=True) > activation_bytes(
        config, Storage(2), 4096, graphs=False
    )
    assert plan.total == sum(json.loads(json.dumps(dataclasses.astuple(plan))))


def test_the_container_counts_if_it_has_less_than_the_machine(tmp_path, monkeypatch):
    sizes_kb = {"MemTotal": 8_000_000, "MemAvailable": 4_000_000}
    others = ("MemFree", "Buffers", "Cached", "Shmem", "Active", "Inactive")  # that psutil misses
    rows = (f"{name}: {sizes_kb.get(name, 0)} kB\n" for name in (*sizes_kb, *others))
    (tmp_path / "meminfo").write_text("".join(rows))
    monkeypatch.setattr(psutil, "PROCFS_PATH", str(tmp_path))
    monkeypatch.setattr(machine_memory, "_ROOT", tmp_path)
    group = tmp_path / "sys/fs/cgroup"
    group.mkdir(parents=True)
    (group / "cgroup.controllers").touch()
    assert (machine_memory.total_bytes(), machine_memory.available_bytes()) == (8_192_000_000, 4_096_000_000)
    (group / "memory.max").write_text("max\n")
    (group / "memory.current").write_text("1000\n")
    assert machine_memory.available_bytes() == 4_096_000_000
    (group / "memory.max").write_text("3000\n")
    assert (machine_memory.total_bytes(), machine_memory.available_bytes()) == (3000, 2000)
    (group / "memory.stat").write_text("anon 300\ninactive_file 700\n")  # read from files, dropped when need be
    assert machine_memory.available_bytes() == 2700
    monkeypatch.setattr(psutil, "PROCFS_PATH", str(tmp_path / "missing"))
    monkeypatch.setattr(machine_memory, "_ROOT", tmp_path / "missing")
    assert machine_memory.available_bytes() is None


def test_memory_of_another_process_is_told_by_its_number():
    own = resident_bytes(process=os.getpid())
    assert own is not None and abs(own - (resident_bytes() or 0)) < 64 * 2**20
    assert resident_bytes(process=2**30) is None
