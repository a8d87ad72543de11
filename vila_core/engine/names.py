"""The names of all things that a model knows, as what to look for in a picture's cells."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from vila_core.engine.backend import Backend, CellBackend
from vila_core.types import Thing, Vocabulary

Floats = NDArray[np.float32]

QUESTION = "the {thing} is in view"  # as the head was taught to look for a thing


def naming_backend(backend: Backend) -> tuple[CellBackend, Vocabulary] | None:
    """Return a backend that can tell things apart by their names, and the names; None for another."""
    names = backend.info.vocabulary
    if names is None or backend.info.relevance_period_s is None or not isinstance(backend, CellBackend):
        return None
    return backend, names


class NameTable:
    """What the model looks for, for each thing that it knows the name of.

    Raises BackendError if the model fails.
    """

    def __init__(self, backend: CellBackend, vocabulary: Vocabulary) -> None:
        self.things = [Thing(colour, kind) for kind, _ in vocabulary.kinds for colour, _ in vocabulary.colours]
        queries = backend.cell_queries([QUESTION.format(thing=thing.text) for thing in self.things])
        self.vectors, self.thresholds = queries[:, :-1], queries[:, -1]  # [N, F], [N]

    def logits(self, vectors: Floats) -> Floats:
        """How much vectors [..., F] are like each name: [..., N]."""
        return vectors @ self.vectors.T + self.thresholds

    def rows(self, thing: Thing) -> list[int]:
        """The names that mean a thing, of any colour if it has none."""
        return [row for row, known in enumerate(self.things) if known.is_a(thing)]

    def queries(self, thing: Thing) -> tuple[Floats, Floats]:
        """What to look for to find a thing: vectors [n, F] and thresholds [n]."""
        rows = self.rows(thing)
        return self.vectors[rows], self.thresholds[rows]
