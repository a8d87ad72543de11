"""The GPU's benchmark on a CPU: a tiny shape through the same code, and what it says where there is no GPU."""

from __future__ import annotations

import json

import pytest
import torch

from vila_core.random_checkpoints.shapes import SHAPES, tiny
from vila_tools.benchmark.gpu import run as program
from vila_tools.benchmark.gpu.decode import _split
from vila_tools.benchmark.gpu.run import GpuJob, asked_of_gpu, bench_gpu
from vila_tools.cli import main as vila

CPU = torch.device("cpu")


def test_a_tiny_shape_runs_on_a_cpu(capsys, tmp_path):
    arguments = ["--device", "cpu", "--quick", "--rounds", "1", "--like", "vila1.5-3b", "--json", str(tmp_path / "r")]
    assert vila(["bench", "gpu", *arguments]) == 0
    result = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert result == json.loads((tmp_path / "r").read_text())
    shape = result["shapes"]["vila1.5-3b"]
    assert shape["converted_layers"] == 2 * 7 + 1 + 2 * 6  # decoder, head, the tower's layers that run
    assert shape["decode_ms"]["ours"] > 0 and shape["decision"]["decision_ms"] > 0
    assert shape["floor_ms"] == pytest.approx(shape["weights_mb"] / result["bandwidth_gbps"], rel=0.2, abs=1e-3)
    assert set(shape["kernels"]["4 bits 64 x 64 / 64"]["by_rows"].values()) == {"dequantized"}
    tower = result["tower"]["batch 1"]
    assert tower["eager"]["bfloat16_over_w8a8"] > 0 and "recorded" not in tower
    assert result["asked"] == {} and result["skipped"] == []


def test_no_part_begins_after_the_limit():
    job = GpuJob(CPU, {"vila1.5-3b": tiny(SHAPES["vila1.5-3b"])}, buffer_mb=1, limit_s=-1.0)
    result = bench_gpu(job)
    assert result["skipped"] == ["vila1.5-3b", "tower"] and result["shapes"] == {} and result["tower"] is None


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "finds no CUDA device"),
        (["--device", "cpu"], "give --quick too"),
        (["--device", "cpu", "--quick", "--like", "gpt"], "no model is called 'gpt'"),
        (["--device", "cpu", "--quick", "--rounds", "0"], "--rounds 0"),
    ],
)
def test_what_cannot_be_measured_is_told(arguments, words, capsys):
    assert vila(["bench", "gpu", *arguments]) == 2
    assert words in capsys.readouterr().err


def test_the_worst_shape_and_the_best_batch_are_judged():
    shapes = {
        "a": {"of_floor": 0.5, "transformers_over_ours": 4.0},
        "b": {"of_floor": 0.39, "transformers_over_ours": None},
    }
    tower = {"layers": 3, "batch 1": {"eager": {"bfloat16_over_w8a8": 1.1}, "recorded": {"bfloat16_over_w8a8": 1.5}}}
    asked = asked_of_gpu({"shapes": shapes, "tower": tower})
    assert asked["of_floor"] == {"asked": 0.4, "measured": 0.39, "met": False}
    assert asked["transformers_over_ours"]["met"] is None
    assert asked["tower_bfloat16_over_w8a8"] == {"asked": 1.4, "measured": 1.5, "met": True}
    assert asked_of_gpu({"shapes": {}, "tower": None})["of_floor"]["measured"] is None


def test_the_first_token_s_time_is_the_prompt_s():
    assert _split([0.0, 1.0, 1.25, 1.5]) == {"prefill_ms": 1000.0, "decode_ms": 250.0}


def test_the_table_says_what_is_missing():
    row = {
        "decode_ms": {"ours": 1.0}, "prefill_ms": {"ours": 2.0}, "prompt_tokens": 8, "floor_ms": 0.5, "of_floor": 0.5,
        "decision": {"decision_ms": 3.0}, "missing": {"transformers": "not installed"},
    }  # fmt: skip
    result = {
        "device": "H100", "bandwidth_gbps": 3000.0, "torch": "2", "shapes": {"a": row}, "skipped": ["tower"],
        "asked": asked_of_gpu({"shapes": {"a": row | {"transformers_over_ours": None}}, "tower": None}),
    }  # fmt: skip
    lines = "\n".join(program.table(result))
    assert "ours reaches 50 % of it" in lines and "missing: not installed" in lines and "not measured" in lines
    assert "tower: skipped" in lines
