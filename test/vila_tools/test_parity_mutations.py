"""Parity notices wrong formulas: each of these changes of a line of quantization makes at least one case fail."""

from __future__ import annotations

import inspect
from importlib import import_module

import pytest
import torch
from conftest import golden_dir

from vila_tools.parity.case import run_case
from vila_tools.parity.quantization import quantization_cases

CASES = list(quantization_cases(golden_dir("quantization")))
CASES.sort(key=lambda case: "search" in case.group)  # the quick ones first

GROUPS = "groupwise._scales_and_zeros"
SPLIT = "groupwise.split_groups"
SEARCH = "awq_scales.search_scales"
MUTANTS = [
    ("zeros rounded down", GROUPS, "torch.round(low / scales)", "torch.floor(low / scales)"),
    ("zeros not clamped", GROUPS, ".clamp_(0, most)", ""),
    ("a step too few", GROUPS, "2**bits - 1", "2**bits - 2"),
    ("a step too many", GROUPS, "2**bits - 1", "2**bits"),
    ("steps around zero", GROUPS, "(high - low)", "(2 * groups.abs().amax(-1, keepdim=True))"),
    ("another least range", GROUPS, "min=_LEAST_RANGE", "min=1e-2"),
    ("half a group", SPLIT, "else group_size", "else group_size // 2"),
    (
        "groups across",
        SPLIT,
        "width // group, group)",
        "group, width // group).transpose(1, 2)",
    ),
    ("values cut off", "groupwise.pseudo_quantize", "torch.round", "torch.trunc"),
    ("values clamped to one less", "groupwise.pseudo_quantize", "2**bits - 1", "2**bits - 2"),
    ("stored values cut off", "groupwise._rounded", "torch.round", "torch.trunc"),
    ("columns, not rows", "w8a8.quantize_rows", "amax(-1, keepdim=True)", "amax(0, keepdim=True)"),
    ("128 steps", "w8a8.quantize_rows", "/ LARGEST", "/ (LARGEST + 1)"),
    ("bytes cut off", "w8a8.quantize_rows", "torch.round", "torch.trunc"),
    (
        "alpha the other way",
        "w8a8_layer.smoothing_scales",
        "pow(alpha) / largest.pow(1 - alpha)",
        "pow(1 - alpha) / largest.pow(alpha)",
    ),
    ("outputs, not inputs", "w8a8_layer.smoothing_scales", "amax(0) for", "amax(1) for"),
    ("outputs scaled", "w8a8_layer.smooth", "weight.mul_(scales)", "weight.mul_(scales[:, None])"),
    ("bias not smoothed", "w8a8_layer.smooth", '("weight", "bias")', '("weight",)'),
    ("every second ratio", SEARCH, "range(RATIOS)", "range(0, RATIOS, 2)"),
    ("ratios up to half", SEARCH, "step / RATIOS", "step / (2 * RATIOS)"),
    ("ratios by the largest", SEARCH, "abs().mean(0)", "abs().amax(0)"),
    ("ratios the other way", "awq_scales.ratio_scales", "pow(ratio)", "pow(1 - ratio)"),
    (
        "scales centred by their mean",
        "awq_scales.ratio_scales",
        "(scales.max() * scales.min()).sqrt()",
        "scales.mean()",
    ),
    ("errors not squared", "awq_scales._error", "square_()", "abs_()"),
    ("weights divided", "awq_scales._quantize_into", "weight[rows] * scales", "weight[rows] / scales"),
    ("tried in small groups", "awq_scales._quantize_into", "group_size)\n", "group_size // 4)\n"),
    ("folded the wrong way", "awq_scales.fold_scales", "weight.div_(scales)", "weight.mul_(scales)"),
    ("folded into columns", "awq_scales.fold_scales", "div_(scales[:, None])", "div_(scales[None])"),
    ("few clips", "awq_clip._search", "range(SHRINKS)", "range(SHRINKS // 2)"),
    ("small steps of clips", "awq_clip._search", "step / STEPS", "step / (2 * STEPS)"),
    ("clipped above alone", "awq_clip._search", "clamp(-largest, largest)", "clamp(max=largest)"),
    ("cut above alone", "awq_clip.clip_weight_", "clamp_(-largest, largest)", "clamp_(max=largest)"),
    ("clips of half a group", "awq_clip.search_clip", "group_size)\n", "group_size // 2)\n"),
    ("few tokens", "awq_clip.input_moments", "len(inputs) // SAMPLED_TOKENS", "8"),
    (
        "channels on their own",
        "awq_clip.input_moments",
        "groups.transpose(1, 2) @ groups",
        "(groups**2).sum(1).diag_embed()",
    ),
    ("one linear for three", "awq_block._search_pair", "passes.get(pair.inspected)", 'passes.get("")'),
    ("every linear clipped", "awq_block.search_block", "if name not in NOT_CLIPPED", "if True"),
    ("clips left out", "awq_block.search_block", "apply_clip(block.module, name, clips[name])", "pass"),
    ("clips of inputs not scaled", "awq_block.search_block", ".div_(found.scales)", ""),
    ("rows of 8 in order", "formats.tinychat.pack_v2", ".transpose(3, 4)", ""),
    ("zeros added", "formats.tinychat.pack_v2_scales", "-(scales", "(scales"),
    ("padded to 4", "formats.tinychat.padded_groups", "_PAD *", "4 *"),
    ("words in order", "formats.autoawq.pack_gemm", ", GEMM_ORDER", ""),
    ("zeros as they are", "formats.autoawq.pack_exllama", "- 1)", ")"),
]


def mutate(monkeypatch, name, line, changed):
    """Change a function of vila_core.quantization in place, so that all who have imported it meet the change."""
    module, _, function = f"vila_core.quantization.{name}".rpartition(".")
    module = import_module(module)
    original = inspect.unwrap(getattr(module, function))
    source = inspect.getsource(original)
    assert line in source, f"{name} reads otherwise now"
    made = dict(vars(module))
    exec("from __future__ import annotations\n" + source.replace(line, changed), made)
    monkeypatch.setattr(original, "__code__", inspect.unwrap(made[function]).__code__)


@torch.no_grad()
def failing():
    """The first case that fails, None if all pass."""
    return next((case for case in CASES if not run_case(case).is_within), None)


def test_without_a_change_all_pass():
    assert failing() is None


@pytest.mark.parametrize(("name", "line", "changed"), [row[1:] for row in MUTANTS], ids=[row[0] for row in MUTANTS])
def test_a_wrong_formula_fails(monkeypatch, name, line, changed):
    mutate(monkeypatch, name, line, changed)
    assert failing() is not None
