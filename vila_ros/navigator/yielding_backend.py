"""The model as those see it who must not keep a decision waiting: between two of their calls a decision is taken."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

from vila_core.engine.backend import Backend
from vila_core.errors import BackendError, VilaError


def yielding(backend: Backend, give_way: Callable[[], None]) -> Backend:
    """Return the backend with `give_way` called before each of its calls; whatever they raise is a VilaError.

    Ten queries are ten calls, perhaps: a decision that becomes due meanwhile waits for one of them.
    """
    return cast(Backend, _YieldingBackend(backend, give_way))


class _YieldingBackend:
    """Passes everything on, so that the protocol is spelled out once."""

    def __init__(self, backend: Backend, give_way: Callable[[], None]) -> None:
        self._backend = backend
        self._give_way = give_way

    def __getattr__(self, name: str) -> Any:
        member = getattr(self._backend, name)
        if not callable(member):
            return member

        def call(*arguments: Any, **named: Any) -> Any:
            self._give_way()
            try:
                return member(*arguments, **named)
            except VilaError:
                raise
            except Exception as err:  # torch raises what it likes; the queries beside this one must be answered
                raise BackendError(f"{type(err).__name__}: {err}") from err

        return call
