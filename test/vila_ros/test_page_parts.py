"""What the page knows: the board that browsers read, pictures, the way, and who holds the robot."""

from __future__ import annotations

import json
import math

import cv2
import numpy as np
import pytest

pytest.importorskip("rclpy")

from vila_core.types import MoveForward, Odometry, Pose, Stop, Turn
from vila_ros.page.board import Board
from vila_ros.page.deadman import Deadman
from vila_ros.page.listener import words
from vila_ros.page.path import Path
from vila_ros.page.pictures import Picture, Pictures, encode

SECOND = 1_000_000_000


def test_a_board_tells_what_has_changed_since_any_moment():
    board = Board()
    board.put("a", 1)
    changes, moment = board.since(0)
    assert changes == [("a", 1)]
    board.put("b", 2)
    board.put("a", 1)  # no change
    assert board.since(moment)[0] == [("b", 2)]
    board.put("a", 3)
    changes, moment = board.since(moment)
    assert changes == [("a", 3), ("b", 2)]  # in the order of their first appearance
    board.drop("a")
    board.drop("never there")
    assert board.since(moment)[0] == [("a", None)] and board.get("a") is None


def test_of_a_kind_the_newest_are_kept_and_a_kind_can_go():
    board = Board(most_of_a_kind=3)
    for number in range(5):
        board.put(f"event/{number}", number)
    board.put("event/2", "changed")
    board.put("other/1", 1)
    assert dict(board.since(0)[0]) == {"event/2": "changed", "event/3": 3, "event/4": 4, "other/1": 1}
    board.drop_kind("event")
    assert [value for key, value in board.since(0)[0] if key.startswith("event/")] == [None] * 3


def test_what_is_gone_is_forgotten_after_a_while():
    board = Board()
    for number in range(5000):
        board.put(f"path/{number}", [])
        board.drop(f"path/{number}")
    assert len(board.since(0)[0]) < 1200


def test_every_value_is_json_that_browsers_read():
    board = Board()
    board.put("x", {"a": math.nan, "b": [math.inf, 1.5], "c": "y" * 10_000, "d": (1, None, True)})
    text = json.dumps(board.since(0)[0], allow_nan=False)
    assert '"a": null' in text and '"b": [null, 1.5]' in text and len(text) < 3000
    _, moment = board.since(0)
    board.put("x", {"a": math.nan, "b": [math.inf, 1.5], "c": "y" * 10_000, "d": (1, None, True)})
    assert board.since(moment)[0] == []


ENCODED: list[int] = []  # stamps of pictures that became JPEG


@pytest.fixture(autouse=True)
def none_is_encoded():
    ENCODED.clear()


def picture(stamp_ns: int, size: int = 1) -> Picture:
    return Picture(stamp_ns, lambda: ENCODED.append(stamp_ns) or str(stamp_ns).encode(), size, 0.0, 0.0)


def stamp(one: Picture | None) -> int | None:
    return None if one is None else one.stamp_ns


def test_the_very_picture_that_a_decision_answered_is_kept():
    pictures = Pictures()
    for second in range(20):
        pictures.add(picture(second * SECOND))
        if second == 15:
            pictures.decide("12", 14 * SECOND)
    assert stamp(pictures.of_decision("12")) == 14 * SECOND
    pictures.decide("13", 2 * SECOND)  # long gone
    assert pictures.of_decision("13") is None
    assert stamp(pictures.newest) == 19 * SECOND and pictures.count == 20
    assert ENCODED == [14 * SECOND]


def test_pictures_are_encoded_only_for_who_looks_or_when_they_grow_old_before_a_decision():
    pictures = Pictures()
    for number in range(100):
        pictures.add(picture(number, size=1 << 20))
    assert not ENCODED  # nothing is awaited: they are forgotten
    pictures.is_driving = True
    for number in range(100, 200):
        pictures.add(picture(number, size=1 << 20))
    pictures.decide("1", 110)
    assert pictures.of_decision("1").jpeg == b"110" and ENCODED.count(110) == 1
    assert len(ENCODED) == 100 and max(ENCODED) < 152
    assert pictures.newest.jpeg == pictures.newest.jpeg == b"199" and ENCODED[-1] == 199


def test_a_decision_may_come_before_its_picture():
    pictures = Pictures()
    pictures.decide("1", 5 * SECOND)
    assert pictures.of_decision("1") is None
    pictures.add(picture(5 * SECOND))
    assert stamp(pictures.of_decision("1")) == 5 * SECOND


def test_pictures_begin_anew_when_the_clock_goes_back():
    pictures = Pictures()
    pictures.add(picture(100 * SECOND))
    pictures.add(picture(1 * SECOND))
    assert stamp(pictures.newest) == 1 * SECOND
    pictures.decide("1", 100 * SECOND)
    assert pictures.of_decision("1") is None


def test_a_picture_has_its_colours_and_is_not_wider_than_wanted():
    image = np.zeros((480, 1280, 3), np.uint8)
    image[..., 0] = 200  # red
    shown = cv2.imdecode(np.frombuffer(encode(image, 640), np.uint8), cv2.IMREAD_COLOR)
    assert shown.shape == (240, 640, 3)
    assert shown[..., 2].mean() == pytest.approx(200, abs=5) and shown[..., 0].mean() < 5
    assert cv2.imdecode(np.frombuffer(encode(image[:, :64], 640), np.uint8), cv2.IMREAD_COLOR).shape == (480, 64, 3)


def test_who_holds_the_robot_and_falls_silent_is_told_once():
    deadman = Deadman(0.3)
    assert not deadman.expired(0.0) and not deadman.is_held
    deadman.hold(1, 0.0)
    deadman.hold(2, 0.0)
    deadman.hold(1, 0.25)
    assert deadman.is_held and not deadman.expired(0.29)
    assert deadman.expired(0.31) and not deadman.expired(0.31)  # the second
    deadman.let_go(1)
    assert not deadman.is_held and not deadman.expired(9.0)


def test_a_connection_that_breaks_counts_at_once_if_it_held_the_robot():
    deadman = Deadman(0.3)
    deadman.lose(1)
    assert not deadman.expired(0.0)
    deadman.hold(1, 0.0)
    deadman.lose(1)
    assert deadman.expired(0.0) and not deadman.expired(0.0)


def test_the_way_comes_in_pieces_and_begins_anew_after_a_jump():
    board = Board()
    path = Path(board)
    for step in range(200):
        path.add(Odometry(step * SECOND // 2, Pose(0.1 * step, 0.0, 0.0), 0.0, 0.0))
    pieces = [value for key, value in board.since(0)[0] if key.startswith("path/")]
    assert len(pieces) > 3 and max(map(len, pieces)) <= 40
    assert all(a[-1] == b[0] for a, b in zip(pieces, pieces[1:], strict=False))
    assert board.get("pose")[:3] == [pytest.approx(19.9), 0.0, 0.0]
    path.add(Odometry(1000 * SECOND, Pose(0.0, 0.0, 0.0), 0.0, 0.0))
    pieces = [value for key, value in board.since(0)[0] if key.startswith("path/") and value is not None]
    assert pieces == [[[0.0, 0.0]]]


def test_actions_are_told_in_words():
    assert [words(one) for one in (Stop(), MoveForward(0.25), Turn(math.pi / 12), Turn(-math.pi / 4), None)] == [
        *("stop", "forward 25 cm", "left 15°", "right 45°", "hold")
    ]
