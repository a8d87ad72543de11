"""The way of the robot by odometry, in pieces, thin enough for a browser."""

from __future__ import annotations

from vila_core.types import Odometry, Pose
from vila_ros.page.board import Board

_STEP_M = 0.05  # between two points
_JUMP_M = 1.0  # no step: the robot was put elsewhere, or its odometry began anew
_PIECE = 40  # points
_POSE_S = 0.1  # between two poses of the standing or turning robot


class Path:
    """Puts the way on the board, as `path/0`, `path/1`, ..., and where the robot is now, as `pose`."""

    def __init__(self, board: Board) -> None:
        self._board = board
        self._piece = 0
        self._points: list[list[float]] = []
        self._last: Pose | None = None
        self._posed_ns: int | None = None

    def add(self, odometry: Odometry) -> None:
        """Take a pose of the robot."""
        pose = odometry.pose
        since_s = None if self._posed_ns is None else (odometry.stamp_ns - self._posed_ns) / 1e9
        if since_s is not None and 0 <= since_s < _POSE_S:
            return
        self._posed_ns = odometry.stamp_ns
        speed = round(odometry.linear_mps, 2), round(odometry.angular_rps, 2)
        self._board.put("pose", [round(pose.x_m, 3), round(pose.y_m, 3), round(pose.yaw_rad, 3), *speed])
        step_m = None if self._last is None else self._last.distance_m(pose)
        if step_m is not None and step_m > _JUMP_M:
            self._board.drop_kind("path")
            self._points = []
        elif step_m is not None and step_m < _STEP_M:
            return
        self._last = pose
        if len(self._points) >= _PIECE:
            self._points = self._points[-1:]  # pieces hang together
            self._piece += 1
        self._points.append([round(pose.x_m, 2), round(pose.y_m, 2)])
        self._board.put(f"path/{self._piece}", list(self._points))
