"""A lifecycle node that releases what it acquired in reverse order, whichever way it goes down."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from rclpy.parameter import Parameter

from vila_core.errors import VilaError


class ManagedNode(LifecycleNode):
    """Base of nodes that say in `_configure` and `_activate` what they acquire, and with `_undo_later` how it ends.

    Both raise VilaError if they cannot; what was acquired until then is released.
    """

    def __init__(self, name: str, parameter_overrides: Sequence[Parameter] = ()) -> None:
        self._undo: list[Callable[[], object]] = []
        self._active_from = 0  # length of _undo when activation began
        self._error: VilaError | None = None
        super().__init__(name, parameter_overrides=list(parameter_overrides))

    def bring_up(self) -> None:
        """Configure and activate, for use without a lifecycle manager. Raises what went wrong."""
        for transition in (self.trigger_configure, self.trigger_activate):
            if transition() != TransitionCallbackReturn.SUCCESS:
                raise self._error or VilaError(f"{transition.__name__} failed; see the log above")

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Acquire what the node needs before it works."""
        return self._transition(self._configure, 0)

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Begin to work."""
        self._active_from = len(self._undo)
        return self._transition(self._activate, self._active_from)

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Release what activation acquired."""
        self._release(self._active_from)
        return TransitionCallbackReturn.SUCCESS

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Release what configuration acquired."""
        self._release(0)
        return TransitionCallbackReturn.SUCCESS

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Release everything."""
        self.close()
        return TransitionCallbackReturn.SUCCESS

    def close(self) -> None:
        """Release everything. Safe to call twice."""
        self._release(0)

    def destroy_node(self) -> None:
        """Close, then leave the graph."""
        self.close()
        super().destroy_node()

    def _configure(self) -> None:
        raise NotImplementedError

    def _activate(self) -> None:
        raise NotImplementedError

    def _undo_later(self, undo: Callable[[], object]) -> None:
        """Have this called when the present transition is taken back; the last one first."""
        self._undo.append(undo)

    def _transition(self, acquire: Callable[[], None], undo_to: int) -> TransitionCallbackReturn:
        try:
            acquire()
        except VilaError as err:
            self._error = err
            self.get_logger().error(str(err))
            self._release(undo_to)
            return TransitionCallbackReturn.FAILURE
        return TransitionCallbackReturn.SUCCESS

    def _release(self, down_to: int) -> None:
        while len(self._undo) > down_to:
            self._undo.pop()()
