"""`vila parity DIR`: compute every case of a directory of reference data and tell how far off each one is.

DIR has the form of test/reference/vila (checkpoints, projectors, vision, encoders, text, prompts, e2e), of vln beside
it or of quantization, or holds such folders. What is compared follows from the files: sizes, seeds, pictures and
configurations are theirs.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from vila_core.errors import ConfigError
from vila_tools.parity.case import EMBEDDING_LIMIT, LOGIT_LIMIT, Case, CaseResult, Limits, run_case
from vila_tools.parity.e2e import e2e_cases
from vila_tools.parity.models import ModelStore
from vila_tools.parity.parts import encoder_cases, projector_cases, vision_cases
from vila_tools.parity.quantization import QUANTIZATION_PARTS, quantization_cases
from vila_tools.parity.text import prompt_cases, text_cases
from vila_tools.parity.vln import vln_cases

OUT_OF_LIMITS = 1

_VILA_PARTS = ("projectors", "vision", "encoders", "text", "prompts.json", "e2e")
_VLN_PARTS = ("navila_prompt.json", "navila_frame_sampling.json", "action_parsers.json", "navila_tokens.json")
_PARTS = _VILA_PARTS + _VLN_PARTS + QUANTIZATION_PARTS


def main(argv: Sequence[str] | None = None) -> int:
    """Print each case's largest error and, last, a JSON summary. Returns 0 only if all are within the limits."""
    args = _parser().parse_args(argv)
    torch.backends.cudnn.allow_tf32 = False  # else a GPU's convolutions round float32 to ten bits
    models = ModelStore(args.device, args.precision)
    cases = list(find_cases(args.dir, models, Limits(args.embeddings_limit, args.logits_limit), args.tokenizer))
    if args.only:
        cases = [case for case in cases if any(text in f"{case.group}/{case.name}" for text in args.only)]
    if not cases:
        raise ConfigError(f"{args.dir} holds no case{f' named like {args.only}' if args.only else ''}")
    results = []
    with torch.inference_mode():
        for case in tqdm(cases, unit="case", disable=None):
            results.append(run_case(case))
            tqdm.write(_line(results[-1]))
    summary = make_summary(results)
    setting = {"dir": str(args.dir), "device": args.device, "precision": args.precision}
    print(json.dumps({**setting, **summary, "not_compared": not_compared(args.dir)}))
    return 0 if summary["failed"] == 0 and summary["passed"] > 0 else OUT_OF_LIMITS


def find_cases(folder: Path, models: ModelStore, limits: Limits, tokenizer: Path | None = None) -> Iterator[Case]:
    """Yield the cases of a directory in the form of test/reference/vila, vln or quantization, or of such ones.

    tokenizer: Llama-3's BPE file for the token rows of vln. Raises ConfigError if there is nothing of these forms.
    """
    if not folder.is_dir():
        raise ConfigError(f"{folder} is not a directory; give one in the form of test/reference")
    is_vila = any((folder / name).exists() for name in _VILA_PARTS)
    is_vln = any((folder / name).exists() for name in _VLN_PARTS)
    if is_vila:
        yield from _vila_cases(folder, models, limits)
    if is_vln:
        yield from vln_cases(folder, tokenizer)
    if is_quantized := any((folder / name).exists() for name in QUANTIZATION_PARTS):
        yield from quantization_cases(folder)
    if is_vila or is_vln or is_quantized:
        return
    below = [sub for sub in sorted(folder.iterdir()) if any((sub / name).exists() for name in _PARTS)]
    if not below:
        raise ConfigError(f"{folder} holds none of {', '.join(_PARTS)}")
    for sub in below:
        yield from find_cases(sub, models, limits, tokenizer)


def _vila_cases(folder: Path, models: ModelStore, limits: Limits) -> Iterator[Case]:
    makers: dict[str, Callable[[Path, ModelStore, Limits], Iterator[Case]]] = {
        "projectors": projector_cases,
        "vision": vision_cases,
        "encoders": encoder_cases,
        "text": text_cases,
        "prompts.json": prompt_cases,
        "e2e": e2e_cases,
    }
    for name, make in makers.items():
        if (folder / name).exists():
            yield from make(folder, models, limits)


def not_compared(folder: Path) -> list[str]:
    """Names of the JSON files that hold reference data of things that this command does not compute."""
    known = (*_PARTS, "temporal.json", "manifest.json", "README.json")
    places = [folder, *(sub for sub in folder.iterdir() if any((sub / name).exists() for name in _VLN_PARTS))]
    return sorted(file.name for place in places for file in place.glob("*.json") if file.name not in known)


def make_summary(results: Sequence[CaseResult]) -> dict[str, Any]:
    """Count the cases and give the largest error of each group and kind of value."""
    groups: dict[str, Any] = {}
    for result in results:
        row = groups.setdefault(result.group, {"passed": 0, "failed": 0, "skipped": 0, "largest_error": {}})
        row["skipped" if result.skip else "passed" if result.is_within else "failed"] += 1
        for check in result.checks:
            known = row["largest_error"].get(check.name, 0.0)
            row["largest_error"][check.name] = max(known, check.error if math.isfinite(check.error) else 1e300)
    bad = [result for result in results if not result.skip and not result.is_within]
    return {
        "passed": sum(row["passed"] for row in groups.values()),
        "failed": len(bad),
        "skipped": sum(row["skipped"] for row in groups.values()),
        "failures": {f"{result.group}/{result.name}": _reason(result) for result in bad},
        "skips": {f"{result.group}/{result.name}": result.skip for result in results if result.skip},
        "groups": groups,
    }


def _line(result: CaseResult) -> str:
    name = f"{result.group}/{result.name}"
    if result.skip:
        return f"skip  {name}: {result.skip}"
    if result.failure or not result.is_within:
        return f"FAIL  {name}: {_reason(result)}"
    largest = result.largest
    assert largest is not None
    if not any(check.limit for check in result.checks):
        return f"ok    {name}: largest error 0, equal in {', '.join(dict.fromkeys(c.name for c in result.checks))}"
    return f"ok    {name}: largest error {largest.error:.2e} of {largest.limit:.0e} in {largest.name}"


def _reason(result: CaseResult) -> str:
    if result.failure:
        return result.failure
    bad = [check for check in result.checks if not check.is_within]
    return "; ".join(f"{c.name}: error {c.error:.2e}, limit {c.limit:.0e}{c.detail and ' ' + c.detail}" for c in bad)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="vila parity", description=__doc__.partition("\n\n")[0] if __doc__ else "")
    parser.add_argument("dir", type=Path, help="a directory of the form of test/reference/vila, vln or quantization")
    parser.add_argument("--device", default="cpu", help="where to compute, as torch names it (default: %(default)s)")
    parser.add_argument(
        "--precision", default="float32", help="(default: %(default)s; greedy ids are compared in float32 only)"
    )
    parser.add_argument("--embeddings-limit", type=float, default=EMBEDDING_LIMIT, metavar="X", help="(%(default)s)")
    parser.add_argument("--logits-limit", type=float, default=LOGIT_LIMIT, metavar="X", help="(%(default)s)")
    parser.add_argument("--only", action="append", default=[], metavar="TEXT", help="only cases whose name holds TEXT")
    parser.add_argument("--tokenizer", type=Path, help="Llama-3's tokenizer.json or tokenizer.model, for token rows")
    return parser
