"""`vila agree A B`: how far two precisions of one checkpoint, or two models, decide alike on the same episodes.

The oracle drives; at each of its decisions both models are asked what they would do, each in the words that it was
trained on. A closed loop of each on the same episodes tells what the difference costs: --success-episodes.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from tqdm import tqdm

from vila_core.actions.grammar import SENTENCES
from vila_core.engine.backend import BACKENDS, Backend, load_backend
from vila_core.engine.decode import whole_pass
from vila_core.engine.finite import require_finite, traced
from vila_core.engine.torch_backend import TorchBackend
from vila_core.errors import ConfigError
from vila_core.models.stored.config_reader import read_checkpoint_config
from vila_core.models.working_precision import weight_bytes
from vila_core.navigator import decision_prompt
from vila_core.types import Instruction, Prompt
from vila_sim.environment import FlatEnv
from vila_sim.episodes.splits import SPLITS, Episode, generate_episodes
from vila_tools.evaluation.chosen_episodes import chosen_episodes
from vila_tools.evaluation.episode_run import EpisodeResult, run_episode
from vila_tools.evaluation.metrics import rate_row
from vila_tools.evaluation.policies import make_policy
from vila_tools.evaluation.rollouts import Rollout, oracle_rollout
from vila_tools.options import add_precision_option, add_threads_option, tell_precision
from vila_tools.report import with_kernels

_LEAST_PROBABILITY = 1e-9  # a divergence stays finite


@dataclass(frozen=True, slots=True, eq=False)
class Answer:
    """What a model said to one prompt.

    probabilities: [10]. logits: [V] of the reply's first token, None of a backend that does not show them. decision_ms:
    of choosing, caches as they are.
    """

    probabilities: NDArray[np.float64]
    logits: NDArray[np.float32] | None
    decision_ms: float


def main(argv: Sequence[str] | None = None) -> int:
    """Compare; print a table and, as the last line, a JSON object."""
    args = _parser().parse_args(argv)
    torch.set_num_threads(args.threads)
    asked = ((args.a, args.backend_a, args.precision_a), (args.b, args.backend_b, args.precision_b))
    for path, backend, _ in asked:
        if backend == "torch":
            read_checkpoint_config(path)  # what cannot be loaded is told at once
    episodes = chosen_episodes(args)
    one, other = (
        load_backend(backend, path, device=args.device, precision=precision) for path, backend, precision in asked
    )
    for model in (one, other):
        tell_precision(model.info)
    pairs = list(tqdm(_answers(one, other, episodes), desc="decisions", unit="decision", disable=None))
    report = {"episodes": len(episodes), "split": episodes[0].split, **compare(pairs)}
    report |= {"a": _facts(one, args.a, [a for a, _ in pairs]), "b": _facts(other, args.b, [b for _, b in pairs])}
    if args.success_episodes:
        report |= success([("a", one), ("b", other)], generate_episodes(args.split, args.success_episodes, args.seed))
    print(make_table(report))
    print(json.dumps(with_kernels(report)))
    return 0


def compare(pairs: Iterable[tuple[Answer, Answer]]) -> dict[str, Any]:
    """Sum up how two models' answers differ.

    agreement: share of decisions with the same action. kl: mean of sum p log(p / q) over the ten probabilities, in
    nats, p being the first model's. logits_error: |x - y| / |x| over the vocabulary, mean; None where they have not the
    same vocabulary, or do not show its logits.
    """
    rows = list(pairs)
    if not rows:
        raise ConfigError("there is no decision to compare")
    same = [bool(a.probabilities.argmax() == b.probabilities.argmax()) for a, b in rows]
    divergences = [divergence(a.probabilities, b.probabilities) for a, b in rows]
    errors = [_logits_error(a.logits, b.logits) for a, b in rows if a.logits is not None and b.logits is not None]
    return {
        "decisions": len(rows),
        **rate_row("agreement", sum(same), len(same)),
        "kl_nats": float(f"{statistics.fmean(divergences):.4g}"),
        "kl_max_nats": float(f"{max(divergences):.4g}"),
        "logits_error": float(f"{statistics.fmean(errors):.4g}") if errors else None,
    }


def _logits_error(x: NDArray[np.float32], y: NDArray[np.float32]) -> float:
    return float(np.linalg.norm(x - y) / max(np.linalg.norm(x), 1e-30))


def divergence(p: NDArray[np.float64], q: NDArray[np.float64]) -> float:
    """Kullback-Leibler divergence of q from p, in nats; both sum to 1."""
    p, q = np.maximum(p, _LEAST_PROBABILITY), np.maximum(q, _LEAST_PROBABILITY)
    return float(max(0.0, (p * np.log(p / q)).sum()))


def success(models: Sequence[tuple[str, Backend]], episodes: Sequence[Episode]) -> dict[str, Any]:
    """Let each model drive the same episodes; success rates with 95 % intervals, and how often they differ."""
    env = FlatEnv()
    found: dict[str, list[EpisodeResult]] = {}
    for name, backend in models:
        policy = make_policy("ours", env, backend)
        bar = tqdm(episodes, desc=f"episodes of {name}", unit="episode", disable=None)
        found[name] = [run_episode(env, policy, "ours", episode) for episode in bar]
    env.close()
    rates = {
        name: rate_row("sr", sum(result.metrics.success for result in results), len(results))
        for name, results in found.items()
    }
    flips = [a.metrics.success != b.metrics.success for a, b in zip(*found.values(), strict=True)]
    return {"success": {"episodes": len(episodes), **rates, "differ": sum(flips)}}


def make_table(report: dict[str, Any]) -> str:
    """The report as text."""
    lines = [
        f"{report['decisions']} decisions in {report['episodes']} episodes of {report['split']}: "
        f"{report['agreement']:.1%} the same action ({report['agreement_low']:.1%} to {report['agreement_high']:.1%})",
        f"divergence {report['kl_nats']:.2g} nats (largest {report['kl_max_nats']:.2g})"
        + ("" if report["logits_error"] is None else f", logits off by {report['logits_error']:.1%}"),
        f"{'':2} {'precision':<34} {'MB':>9} {'ms':>8} {'SR':>6}",
    ]
    for name in ("a", "b"):
        row, rate = report[name], report.get("success", {}).get(name, {}).get("sr")
        shown, mb = "" if rate is None else f"{rate:6.3f}", "-" if row["mb"] is None else f"{row['mb']:.2f}"
        lines.append(f"{name:2} {row['precision']:<34} {mb:>9} {row['decision_ms']:8.2f} {shown:>6}")
    return "\n".join(lines)


def _answers(one: Backend, other: Backend, episodes: Sequence[Episode]) -> Iterator[tuple[Answer, Answer]]:
    shown = _showing(one, other)
    env = FlatEnv()
    try:
        for episode in episodes:
            rollout = oracle_rollout(env, episode)
            for prompt, same in zip(_prompts(one, rollout), _prompts(other, rollout), strict=True):
                yield _answer(one, prompt, shown[0]), _answer(other, same, shown[1])
    finally:
        env.close()


def _showing(one: Backend, other: Backend) -> tuple[TorchBackend | None, TorchBackend | None]:
    """The two, if both show their logits, over as many tokens."""
    a, b = _held(one), _held(other)
    if a is None or b is None or a.model.config.language.vocab_size != b.model.config.language.vocab_size:
        return None, None
    return a, b


def _held(backend: Backend) -> TorchBackend | None:
    """The backend, if torch holds its whole model; an engine of TensorRT's keeps its layers to itself."""
    return backend if isinstance(backend, TorchBackend) and len(backend.model.language_model.layers) else None


def _prompts(backend: Backend, rollout: Rollout) -> Iterator[Prompt]:
    for seen in rollout.decisions:
        yield decision_prompt(backend.info, Instruction(rollout.instruction), rollout.frames[:seen])


def _answer(backend: Backend, prompt: Prompt, shown: TorchBackend | None) -> Answer:
    began = time.perf_counter()
    choice = backend.choose(prompt, SENTENCES)
    elapsed_ms = (time.perf_counter() - began) * 1e3
    logits = None if shown is None else first_logits(shown, prompt)
    return Answer(np.array(choice.probabilities), logits, elapsed_ms)


@torch.inference_mode()
def first_logits(backend: TorchBackend, prompt: Prompt) -> NDArray[np.float32]:
    """Logits [V] of the token behind the prompt, the whole prompt read anew. NotFiniteError if any is not finite."""
    language, embeddings = backend.model.language_model, backend.embeddings(prompt)
    positions = torch.arange(len(embeddings), device=backend.model.device)
    logits = language.logits(language(embeddings[None], positions)[0, -1])
    with traced(backend.model, lambda: whole_pass(backend.model, prompt)):
        require_finite(logits, "the logits behind the prompt")
    return logits.float().cpu().numpy()


def _facts(backend: Backend, path: Path, answers: Sequence[Answer]) -> dict[str, Any]:
    """What each column says; mb: of what decides, without a relevance head; None where torch does not hold it."""
    mb = None
    if (held := _held(backend)) is not None:
        head = held.model.relevance_head
        deciding = weight_bytes(held.model) - (0 if head is None else weight_bytes(head))
        mb = round(deciding / 1e6, 2)
    return {
        "checkpoint": str(path),
        "model": backend.info.name,
        "precision": backend.info.precision,
        "mb": mb,
        "decision_ms": round(statistics.median(answer.decision_ms for answer in answers), 2),
    }


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="vila agree", description=__doc__)
    parser.add_argument("a", type=Path, help="a checkpoint directory, the reference")
    parser.add_argument("b", type=Path, help="the same model in another precision, or another model")
    for side in ("a", "b"):
        parser.add_argument(
            f"--backend-{side}", choices=tuple(BACKENDS), default="torch", help=f"that runs {side.upper()}"
        )
    add_precision_option(parser, "--precision-a", "of what is not quantized of A")
    add_precision_option(parser, "--precision-b", "of what is not quantized of B")
    parser.add_argument("--device", default="cpu", help="as torch names it (default: %(default)s)")
    parser.add_argument("--split", choices=SPLITS, default="val_unseen_layout")
    parser.add_argument("--episodes", type=int, default=20, help="that the oracle drives (default: %(default)s)")
    parser.add_argument("--episode-file", type=Path, help="episodes in the JSON form of VLN-CE")
    parser.add_argument("--success-episodes", type=int, default=0, help="that each model drives too (default: none)")
    parser.add_argument("--seed", type=int, default=0, help="of the episodes")
    add_threads_option(parser)
    return parser


if __name__ == "__main__":
    sys.exit(main())
