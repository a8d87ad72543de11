"""What browsers ask for, done by the robot's nodes: by the public action and services, in the executor's thread."""

from __future__ import annotations

import queue
import time
from collections.abc import Callable
from functools import partial
from typing import Any

from rclpy.action import ActionClient
from rclpy.node import Node
from vila_nav.action import LocalizeEvent, NavigateInstruction
from vila_nav.srv import CancelInstruction, UnwatchEvent, WatchEvent

from vila_ros.common.conversions import ns_from_stamp
from vila_ros.page.board import Board
from vila_ros.page.browser_requests import Ask, Cancel, Command, Go, Unwatch, Watch
from vila_ros.page.listener import duration_s

SOURCE = "page"  # who tells an instruction, as the mission says
_MOST_WAITING = 100  # more commands at once come from nobody who reads the answers
_NOT_THERE = "there is no navigator, or it is not active: nothing was done"


class Commands:
    """Takes commands in any thread; puts on the board what became of them, for all browsers alike."""

    def __init__(self, node: Node, board: Board) -> None:
        self._node, self._board = node, board
        self._waiting: queue.Queue[Command] = queue.Queue(_MOST_WAITING)
        self._count = 0
        self._navigate: Any = ActionClient(node, NavigateInstruction, "navigator/navigate")
        self._localize: Any = ActionClient(node, LocalizeEvent, "navigator/localize")
        self._cancel: Any = node.create_client(CancelInstruction, "navigator/cancel_instruction")
        self._watch: Any = node.create_client(WatchEvent, "navigator/watch")
        self._unwatch: Any = node.create_client(UnwatchEvent, "navigator/unwatch")
        self._guard = node.create_guard_condition(self._work)

    def submit(self, command: Command) -> bool:
        """Have a command carried out soon; False if too many wait. May be called in any thread."""
        try:
            self._waiting.put_nowait(command)
        except queue.Full:
            return False
        self._guard.trigger()
        return True

    def forget_queries(self) -> None:
        """Take the standing queries off the board: the navigator that knew them is gone."""
        self._board.drop_kind("query")

    def destroy(self) -> None:
        """Leave the actions."""
        self._navigate.destroy()
        self._localize.destroy()

    def _work(self) -> None:
        """Carry out all that waits; commands whose service is missing are refused in words."""
        while True:
            try:
                command = self._waiting.get_nowait()
            except queue.Empty:
                return
            match command:
                case Go(text):
                    self._go(text)
                case Cancel():
                    self._call(self._cancel, CancelInstruction.Request(), self._on_canceled)
                case Watch(text):
                    self._call(self._watch, WatchEvent.Request(text=text), partial(self._on_watched, text))
                case Unwatch(query_id):
                    request = UnwatchEvent.Request(query_id=query_id)
                    self._call(self._unwatch, request, partial(self._on_unwatched, query_id))
                case Ask(text):
                    self._ask(text)

    # --- the instruction -------------------------------------------------------------------------

    def _go(self, text: str) -> None:
        if not self._navigate.server_is_ready():
            self._note("error", f"“{text}”: {_NOT_THERE}")
            return
        goal = NavigateInstruction.Goal(instruction=text, source=SOURCE)
        _then_result(self._navigate.send_goal_async(goal), lambda result: self._on_arrived(text, result))

    def _on_arrived(self, text: str, result: NavigateInstruction.Result) -> None:
        """Tell how it ended; a mission that began is told of by itself."""
        if result.outcome == result.OUTCOME_REACHED:
            self._note("good", f"“{text}”: reached, after {result.distance_m:.2f} m, {result.decisions} decisions")
        elif result.outcome == result.OUTCOME_FAILED:
            self._note("error", f"“{text}”: {result.error_code} {result.error_msg}")

    def _on_canceled(self, answer: CancelInstruction.Response) -> None:
        self._note("info", "canceled: the robot stands" if answer.success else answer.error_msg)

    # --- events and questions --------------------------------------------------------------------

    def _on_watched(self, text: str, answer: WatchEvent.Response) -> None:
        if answer.success:
            self._board.put(f"query/{answer.query_id}", {"id": answer.query_id, "text": text})
        else:
            self._note("error", f"“{text}”: {answer.error_code} {answer.error_msg}")

    def _on_unwatched(self, query_id: str, answer: UnwatchEvent.Response) -> None:
        if answer.success or answer.error_code == answer.ERROR_UNKNOWN_QUERY:
            self._board.drop(f"query/{query_id}")
        else:
            self._note("error", f"{answer.error_code} {answer.error_msg}")

    def _ask(self, text: str) -> None:
        if not self._localize.server_is_ready():
            self._note("error", f"“{text}”: {_NOT_THERE}")
            return
        self._count += 1
        key = f"question/{self._count}"
        self._board.put(key, {"text": text, "state": "asked", "progress": 0.0})

        def on_feedback(message: Any) -> None:
            told = {"state": "asked", "progress": round(message.feedback.progress, 2), "ahead": message.feedback.ahead}
            if (self._board.get(key) or {}).get("state") == "asked":
                self._board.put(key, {"text": text} | told)

        future = self._localize.send_goal_async(LocalizeEvent.Goal(text=text), on_feedback)
        _then_result(future, lambda result: self._board.put(key, {"text": text} | _answer(result)))

    # --- in general ------------------------------------------------------------------------------

    def _call(self, client: Any, request: Any, on_answer: Callable[[Any], None]) -> None:
        if not client.service_is_ready():
            self._note("error", _NOT_THERE)
            return
        client.call_async(request).add_done_callback(lambda future: on_answer(future.result()))

    def _note(self, level: str, text: str) -> None:
        self._count += 1
        self._board.put(f"note/{self._count}", {"level": level, "text": text, "time_s": round(time.time(), 1)})


def _then_result(future: Any, on_result: Callable[[Any], None]) -> None:
    """Have the result of a goal that was sent; ours are always accepted."""

    def on_accepted(accepted: Any) -> None:
        result = accepted.result().get_result_async()
        result.add_done_callback(lambda done: on_result(done.result().result))

    future.add_done_callback(on_accepted)


def _answer(result: LocalizeEvent.Result) -> dict[str, Any]:
    """What became of a question about the past, as the board has it."""
    if result.error_code:
        return {"state": "failed", "error": f"{result.error_code} {result.error_msg}"}
    rows = zip(result.starts, result.ends, result.probabilities, strict=False)
    return {
        "state": "answered",
        "found": result.found,
        "intervals": [
            [round(ns_from_stamp(start) / 1e9, 3), round(ns_from_stamp(end) / 1e9, 3), round(probability, 3)]
            for start, end, probability in rows
        ],
        "error_s": round(duration_s(result.quantization), 3),
        "searched_s": [round(ns_from_stamp(t) / 1e9, 3) for t in (result.searched_start, result.searched_end)],
    }
