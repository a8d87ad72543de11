"""What the rounds of `vila bench step --parts` come to: one object, and a table for people."""

from __future__ import annotations

import platform
from collections.abc import Iterator
from typing import Any

from vila_core.models.config import CheckpointConfig
from vila_tools.benchmark.field import OWN
from vila_tools.benchmark.job import StepJob
from vila_tools.benchmark.parts.run import Measured
from vila_tools.benchmark.parts.table import PARTS
from vila_tools.benchmark.rounds import medians, minima, ratio, rounded

_PLACES = 18  # of a column


def parts_result(measured: Measured, job: StepJob, config: CheckpointConfig) -> dict[str, Any]:
    """Return what the JSON holds.

    Of each part: ours_ms and peers, medians; min_ms; best_peer, the one of the least median; best_peer_over_ours, the
    median over the rounds of (the round's quickest peer / ours), so that no peer is held to its usual form.
    """
    facts, language, vision = measured.facts, config.language, config.vision
    return rounded(
        {
            **{part: _part(rounds) for part, rounds in measured.rounds.items()},
            "shape": {
                "name": config.name,
                "decoder": [language.model_type, language.layers, language.hidden_size, language.intermediate_size],
                "tower": [vision.image_size, vision.layers, vision.hidden_size, vision.intermediate_size],
                "vocab_size": language.vocab_size,
                "prompt_tokens": job.prompt_tokens,
                "threads": job.threads,
                "precision": {
                    name: {half: told["precision"] for half, told in row.items()} for name, row in facts.items()
                },
            },
            "about": {name: part.about for name, part in PARTS.items()},
            "rounds": measured.rounds,
            "missing": measured.missing,
            "resident_mb": measured.resident_mb,
            "versions": {
                "python": platform.python_version(),
                **{
                    name: {key: told for half in row.values() for key, told in half["versions"].items()}
                    for name, row in facts.items()
                },
            },
        }
    )


def _part(rounds: list[dict[str, float]]) -> dict[str, Any]:
    typical = medians(rounds)
    peers = {name: time for name, time in typical.items() if name != OWN}
    return {
        "ours_ms": typical[OWN],
        "peers": peers,
        "best_peer": min(peers, key=lambda name: peers[name]) if peers else None,
        "best_peer_over_ours": ratio(rounds, list(peers), OWN) if peers else None,
        "peer_over_ours": {name: ratio(rounds, name, OWN) for name in peers},
        "min_ms": minima(rounds),
    }


def parts_table(result: dict[str, Any]) -> Iterator[str]:
    """Lines for people: who took how long for each part, and how the quickest peer compares with us."""
    shape, parts = result["shape"], [part for part in PARTS if part in result]
    yield f"{shape['name']}: {shape['threads']} threads, a prompt of {shape['prompt_tokens']} tokens in the cache"
    yield from (f"  {part}: {PARTS[part].about}" for part in parts)
    yield "median (min) ms".ljust(16) + "".join(part.rjust(_PLACES) for part in parts)
    for name in shape["precision"]:
        yield name.ljust(16) + "".join(_cell(result[part], name).rjust(_PLACES) for part in parts)
    yield "best peer".ljust(16) + "".join(str(result[part]["best_peer"] or "-").rjust(_PLACES) for part in parts)
    yield "  over ours".ljust(16) + "".join(_times(result[part]["best_peer_over_ours"]) for part in parts)
    for name, halves in shape["precision"].items():
        for half, precision in halves.items():
            yield f"{name} {half}: {precision}; {result['resident_mb'][name][half]:.0f} MB resident"
    for name, reason in result["missing"].items():
        yield f"{name}: missing: {reason}"


def _cell(part: dict[str, Any], name: str) -> str:
    typical = part["ours_ms"] if name == OWN else part["peers"].get(name)
    return "-" if typical is None else f"{typical:.1f} ({part['min_ms'][name]:.1f})"


def _times(value: float | None) -> str:
    return ("-" if value is None else f"{value:.2f}").rjust(_PLACES)
