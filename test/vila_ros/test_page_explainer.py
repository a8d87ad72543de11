"""The page has `vila explain` tell what a decision depends on."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest

pytest.importorskip("rclpy")

from vila_ros.page.board import Board
from vila_ros.page.explainer import Explainer
from vila_ros.page.pictures import Pictures
from vila_tools.replay.source import SAMPLE, open_source

PROGRAM = """
import sys
from pathlib import Path
import cv2, numpy, time
{before}
cv2.imwrite(sys.argv[-1], numpy.full((8, 12, 3), 90, numpy.uint8))
print("it depends on\\nthe chair", "{{}}", sep="\\n")
"""
Make = Callable[[str], Explainer]


@pytest.fixture
def board() -> Board:
    board = Board()
    for number in range(1, 11):
        board.put(f"decision/5-{number}", {"id": str(number)})
    board.put("recording", {"folder": "/a/folder"})
    return board


@pytest.fixture
def pictures() -> Pictures:
    return Pictures()


@pytest.fixture
def make(board: Board, pictures: Pictures) -> Iterator[Make]:
    """Make one whose program does something before it tells."""
    made: list[Explainer] = []

    def make(before: str = "") -> Explainer:
        made.append(Explainer(board, pictures, (sys.executable, "-c", PROGRAM.format(before=before))))
        return made[-1]

    yield make
    for explainer in made:
        explainer.close()


def state(board: Board, key: str = "5-1") -> str:
    return (board.get(f"explanation/{key}") or {}).get("state", "")


def test_words_and_picture_are_kept(make: Make, board: Board, pictures: Pictures, wait_until) -> None:
    make("assert sys.argv[1:6:4] == ['/a/folder', '--out'], sys.argv").explain("5-1")
    wait_until(lambda: state(board) not in ("", "computing"))
    assert board.get("explanation/5-1") == {"key": "5-1", "state": "told", "text": "it depends on the chair"}
    picture = pictures.of_explanation("5-1")
    assert picture is not None
    assert cv2.imdecode(np.frombuffer(picture.jpeg, np.uint8), cv2.IMREAD_COLOR).shape == (8, 12, 3)
    assert pictures.of_explanation("5-2") is None


def test_one_that_is_told_is_not_computed_again(make: Make, board: Board, tmp_path: Path, wait_until) -> None:
    explainer = make(f"open({str(tmp_path / 'asked')!r}, 'a').write('x')")
    explainer.explain("5-1")
    wait_until(lambda: state(board) == "told")
    explainer.explain("5-1")
    explainer.close()
    assert (tmp_path / "asked").read_text() == "x"


def test_one_whose_picture_is_gone_is_computed_again(make: Make, board: Board, pictures: Pictures, wait_until) -> None:
    explainer = make("")
    explainer.explain("5-1")
    wait_until(lambda: state(board) == "told")
    for number in range(2, 10):
        pictures.keep_explanation(f"5-{number}", b"another")
    assert pictures.of_explanation("5-1") is None
    wait_until(lambda: not explainer._thread.is_alive())
    explainer.explain("5-1")
    wait_until(lambda: pictures.of_explanation("5-1") is not None)


def test_words_of_another_encoding_are_told_as_far_as_they_can_be(make: Make, board: Board, wait_until) -> None:
    make("sys.stdout.buffer.write(b'caf\\xe9 '); sys.stdout.flush()").explain("5-1")
    wait_until(lambda: state(board) == "told")
    assert "caf\ufffd" in board.get("explanation/5-1")["text"]


def test_what_it_says_when_it_fails_is_told_and_it_may_be_tried_again(make: Make, board: Board, wait_until) -> None:
    explainer = make("sys.exit('noise\\nvila: the bag holds no decision 1')")
    explainer.explain("5-1")
    wait_until(lambda: state(board) == "failed")
    assert board.get("explanation/5-1")["text"] == "vila: the bag holds no decision 1"
    board.put("explanation/5-1", {"state": "failed", "text": "before"})
    wait_until(lambda: not explainer._thread.is_alive())
    explainer.explain("5-1")
    wait_until(lambda: board.get("explanation/5-1")["text"].startswith("vila: "))


def test_there_is_one_at_a_time_and_it_ends_with_the_page(make: Make, board: Board, wait_until) -> None:
    explainer = make("time.sleep(600)")
    explainer.explain("5-1")
    wait_until(lambda: explainer._process is not None)
    explainer.explain("5-2")
    assert "another decision" in board.get("explanation/5-2")["text"] and state(board) == "computing"
    explainer.close()
    assert explainer._process.returncode and not explainer._thread.is_alive()
    explainer.explain("5-3")
    assert board.get("explanation/5-3") is None


def test_what_is_not_known_or_not_recorded_starts_nothing(make: Make, board: Board) -> None:
    explainer = make()
    explainer.explain("../../etc")
    assert board.get("explanation/../../etc") is None
    board.put("recording", {"folder": ""})
    explainer.explain("5-1")
    assert board.get("explanation/5-1")["text"] == "nothing is recorded" and explainer._process is None


@pytest.mark.slow
def test_a_recorded_decision_is_explained(board: Board, pictures: Pictures, wait_until) -> None:
    decisions = open_source(SAMPLE).recording.decisions
    number = next(one.number for one in decisions if one.reply)
    board.put("decision/1-0", {"id": str(number)})
    board.put("recording", {"folder": str(SAMPLE.parent)})
    explainer = Explainer(board, pictures)
    explainer.explain("1-0")
    wait_until(lambda: state(board, "1-0") not in ("", "computing"))
    explainer.close()
    assert state(board, "1-0") == "told" and "leaving out" in board.get("explanation/1-0")["text"]
    assert len(pictures.of_explanation("1-0").jpeg) > 20_000
