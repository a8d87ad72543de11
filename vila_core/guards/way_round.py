"""A way round what stands between the robot and a thing that it has seen.

A model that sees its goal drives at it, and at what stands before it, again and again: its memory is a few small
pictures. Once that shows, the way is planned instead: over a map of the floor, which the model's relevance head tells
picture by picture, to where the head saw the thing. Near the thing the model drives again. What a look around has not
shown is looked for the same way, where nobody has looked yet.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable

import numpy as np

from vila_core.actions.grammar import ACTIONS
from vila_core.guards.camera_view import columns_at
from vila_core.guards.exploring import NEAR_EDGE_M, Explorer
from vila_core.guards.floor_map import FloorCosts, FloorMap, Spot
from vila_core.guards.look_around import ALL, Mask, turn_toward
from vila_core.guards.second_look import View
from vila_core.guards.thing_place import ThingPlace
from vila_core.guards.way_search import cheapest_way, length_m
from vila_core.types import Action, Frame, MoveForward, Pose, Stop, Turn, wrap_angle

NOT_ROUND = "which is not the way round what is in the way"
NOT_NEW = "which does not lead to where nobody has looked yet"
NOT_ONCE_MORE = "before it has looked round once more"

_SHORT_M = 0.1  # a drive that ends so much too soon was stopped
_AT_M = 1.2  # of the thing: from there the model drives
_TOO_LONG, _DETOUR_M = 2.5, 2.0  # a way that is so many times as long as straight on, and so much more, is none
_AHEAD_M = 1.6  # on the way, that is driven straight
_PASSED_M = 0.25  # from a spot on the way: on to the next
_TO_THING = 1.0, math.radians(9.0)  # so near to it a way may end; and what lies so far aside is straight on
_TO_EDGE = NEAR_EDGE_M, math.radians(14.0)  # the same of an edge of what is known, which is wide
_LOOKED_M, _LOOKED_RAD = 0.5, math.radians(30.0)  # from so near, and so straight, one has looked behind an edge
_UNSEEN = 7  # decisions in a row: a thing that was not seen in so many, all round, is not where it was taken to be
_MOVED_M = 0.3  # that is another spot
_JUMP_M = 1.5  # between two decisions: odometry began anew, or the robot was carried
_BEHIND_M = 0.15  # the thing's middle lies at least so far behind the end of the free floor
_DOUBT_RAD, _DOUBT_M = math.radians(30.0), (0.5, 3.0)  # where a thing would surely be seen
_THING_M = 0.7  # around its middle, what stands in the way may be the thing
_MOST_STOPPED, _REST = 3, 6  # after so many stops on the way the map is wrong: the model makes so many decisions
_KEPT_FRAMES = 32
_TURNS = tuple(sorted((one for one in ACTIONS if isinstance(one, Turn)), key=lambda one: one.angle_rad))
_FORWARDS = tuple(action for action in ACTIONS if isinstance(action, MoveForward))


class WayRound:
    """Plans the way to one thing once the model's own ways led nowhere; needs odometry.

    look: tells what a frame shows of the thing and the floor, None if the model can't; asked about frames once a way is
    to be planned, not before. is_at_rest: decisions follow on the end of a motion; if they do not, nobody can tell here
    that a drive was stopped. explores: decisions after which the thing is no more looked for where nobody has looked
    yet; 0: it never is. Call `allowed` before each decision, `note` after it, `engage` when what the model chose had
    led nowhere, and `explore` when a look around is over. reason: why the last `allowed` ruled something out.
    """

    def __init__(self, look: Callable[[Frame], View | None], *, is_at_rest: bool = True, explores: int = 0) -> None:
        self._look, self._is_at_rest, self._explores = look, is_at_rest, explores
        self.reason = NOT_ROUND
        self._is_engaged = self._is_guiding = self._is_exploring = False
        self._decisions = 0
        self._pose: Pose | None = None  # of the last decision
        self._asked_m = 0.0  # how far it was to drive from there
        self._spot: Pose | None = None
        self._turned_rad = 0.0  # net, since it was at another spot
        self._stopped = self._rests = 0
        self._forget()

    def _forget(self) -> None:
        """Begin anew with what is known of the world."""
        self._frames: deque[tuple[Frame, Pose]] = deque(maxlen=_KEPT_FRAMES)  # not looked at yet
        self._map: FloorMap | None = None
        self._is_told_floor = False
        self._place, self._explorer = ThingPlace(), Explorer()
        self._unseen = 0  # decisions since the thing was surely in view
        self._toward: Spot | None = None  # on the way
        self._edge: Spot | None = None  # that is on the way to

    def engage(self) -> None:
        """Begin to plan: the model's own ways lead nowhere."""
        self._is_engaged = True

    def explore(self) -> None:
        """Begin to look elsewhere: the thing was not seen all round, or is not where it was taken to be."""
        if self._is_exploring or self._decisions < self._explores:
            self._is_engaged = self._is_exploring = True
            if self._unseen >= _UNSEEN:
                self._place = ThingPlace()

    def allowed(self, frame: Frame, pose: Pose | None) -> Mask:
        """For each of grammar.ACTIONS: may it be done at this pose, where this frame was taken?

        All may, unless a way is planned: then its next motion may, and a stop.
        """
        was_guiding, self._is_guiding = self._is_guiding, False
        self._decisions += 1
        if pose is None:
            self._pose = None
            return ALL
        self._note_pose(pose, was_guiding)
        self._frames.append((frame, pose))
        if not self._is_engaged:
            return ALL
        self._look_at_frames()
        goal, floor = self._place.spot, self._map
        explores = goal is None and self._is_exploring and self._is_told_floor
        if floor is None or not (explores or (goal is not None and math.dist(_at(pose), goal) >= _AT_M)):
            return ALL
        if self._rests:
            self._rests -= 1
            return ALL
        if goal is None:
            motion: Action | None = self._exploring_motion(floor.costs(), pose)
        else:
            self.reason, keep, self._edge = NOT_ROUND, was_guiding and self._edge is None, None
            motion = self._next_motion(floor.costs(), pose, goal, _TO_THING, keep=keep)
        if motion is None:
            return ALL
        self._is_guiding = True
        return tuple(isinstance(action, Stop) or action == motion for action in ACTIONS)

    def note(self, action: Action) -> None:
        """Note that the action is going to be done."""
        self._asked_m = action.distance_m if self._is_at_rest and isinstance(action, MoveForward) else 0.0

    def interrupt(self) -> None:
        """Note that a drive ends, or never begins, for another reason than something in the way."""
        self._asked_m = 0.0

    def _note_pose(self, pose: Pose, was_guiding: bool) -> None:
        """Note how far the robot came since the last decision, and how far it has turned on this spot."""
        if self._pose is not None and pose.distance_m(self._pose) > _JUMP_M:
            self._forget()
            self._pose = self._spot = None
        if self._map is None:
            self._map = FloorMap(pose)
        if self._spot is None or pose.distance_m(self._spot) > _MOVED_M:
            self._spot, self._turned_rad = pose, 0.0
        elif self._pose is not None:
            self._turned_rad += wrap_angle(pose.yaw_rad - self._pose.yaw_rad)
        if self._pose is not None and self._asked_m and self._asked_m - pose.relative_to(self._pose).x_m > _SHORT_M:
            self._map.bump(Pose(pose.x_m, pose.y_m, self._pose.yaw_rad))
            self.engage()
            self._stopped += was_guiding
            if self._stopped >= _MOST_STOPPED:
                self._stopped, self._rests = 0, _REST
        self._pose, self._asked_m = pose, 0.0

    def _look_at_frames(self) -> None:
        """See what the frames since the last look show of the floor and the thing."""
        assert self._map is not None
        while self._frames:
            frame, pose = self._frames.popleft()
            self._map.stand(pose)
            if (view := self._look(frame)) is not None:
                self._is_told_floor = True
                self._map.see(pose, view.free_ranges_m)
                self._note_view(self._map, pose, view)

    def _note_view(self, floor: FloorMap, pose: Pose, view: View) -> None:
        """Note where the thing is if it is seen, and doubt that where it should be and is not."""
        sight = view.sight
        self._unseen = 0 if sight.is_surely_there else self._unseen + 1
        if sight.is_surely_there:
            free_m = view.free_ranges_m[columns_at(np.array(sight.bearing_rad), len(view.free_ranges_m))]
            far_m = max(view.distance_m, float(free_m) + _BEHIND_M)
            self._place.note(_at(pose.turned(sight.bearing_rad).advanced(far_m)), far_m)
        elif not sight.may_be_there and (goal := self._place.spot) is not None:
            is_ahead = abs(_bearing_rad(pose, goal)) < _DOUBT_RAD
            is_in_reach = _DOUBT_M[0] < math.dist(_at(pose), goal) < _DOUBT_M[1]
            if is_ahead and is_in_reach and floor.is_in_sight(_at(pose), goal, _THING_M):
                self._place.doubt()

    def _exploring_motion(self, costs: FloorCosts, pose: Pose) -> Action:
        """The next motion on the way to where nobody has looked; a last look around if that is nowhere."""
        self.reason, before = NOT_NEW, self._edge
        while self._decisions < self._explores and (edge := self._explorer.edge(costs, pose)) is not None:
            aside_rad, self._edge = _bearing_rad(pose, edge), edge
            if math.dist(_at(pose), edge) >= _LOOKED_M:
                if (motion := self._next_motion(costs, pose, edge, _TO_EDGE, keep=edge == before)) is not None:
                    return motion
            elif abs(aside_rad) > _LOOKED_RAD:
                return turn_toward(aside_rad, self._turned_rad)
            self._explorer.leave()
        self.reason, self._explores = NOT_ONCE_MORE, 0
        return _TURNS[-1] if self._turned_rad >= 0 else _TURNS[0]

    def _next_motion(
        self, costs: FloorCosts, pose: Pose, goal: Spot, reach: tuple[float, float], *, keep: bool
    ) -> Action | None:
        """The next motion on the way to a spot; None if there is none. keep: go on to where it led before, if it can.

        A way that is another one at each look leads to and fro. reach: as _TO_THING.
        """
        near_m, straight_rad = reach
        here = _at(pose)
        toward = self._toward if keep else None
        if toward is None or math.dist(here, toward) <= _PASSED_M or not costs.is_open(here, toward):
            way = cheapest_way(costs, here, goal, near_m)
            if not way or length_m(way) > _TOO_LONG * math.dist(here, goal) + _DETOUR_M:
                return None
            near = [spot for spot in way if math.dist(here, spot) <= _AHEAD_M and costs.is_open(here, spot)]
            toward = near[-1] if near else way[min(2, len(way) - 1)]
        self._toward = toward
        error_rad = _bearing_rad(pose, toward)
        if abs(error_rad) > straight_rad:
            return turn_toward(error_rad, self._turned_rad)
        far_m = math.dist(here, toward)
        short = [one for one in _FORWARDS if one.distance_m <= far_m + _SHORT_M]
        open_ = [one for one in short if costs.is_open(here, _at(pose.advanced(one.distance_m)))]
        return open_[-1] if open_ else _FORWARDS[0]


def _at(pose: Pose) -> Spot:
    return pose.x_m, pose.y_m


def _bearing_rad(pose: Pose, spot: Spot) -> float:
    """In which direction a spot lies, left > 0."""
    return wrap_angle(math.atan2(spot[1] - pose.y_m, spot[0] - pose.x_m) - pose.yaw_rad)
