"""Checks of how the camera is mounted: which way up, how high, how far down it looks; by tf and by the picture."""

from __future__ import annotations

import math

from vila_core.doctor.commands import commanded_and_measured
from vila_core.doctor.findings import Finding, amber, graded, green, red, unknown
from vila_core.doctor.observations import Observations
from vila_core.doctor.picture_motion import PictureMotion

FEWEST_TURNS, FEWEST_DRIVES = 8, 12  # pairs of pictures
_SAME_DEG = 8.0  # tf and picture
_ALMOST, _WRONG_UP = 0.5, 0.8
_TELLS_RAD = math.radians(4.0)  # a camera that is more level shows the horizon in the middle either way up
_OFF_PITCH_DEG, _FAR_PITCH_DEG = 14.0, 30.0


def orientation(observed: Observations, motion: PictureMotion) -> Finding:
    """Say which way up the picture is, by how it moves as the robot turns and drives."""
    if motion.turn_pairs < FEWEST_TURNS:
        return unknown("the robot must turn on the spot, 20 degrees or more, while images and odometry come")
    across, down = motion.turn_ratio, motion.aside_ratio
    if abs(down) > max(_ALMOST, 1.5 * abs(across)):
        way = "right" if down > 0 else "left"  # what moves to the right by a turn to the left moves down, turned right
        return red(f"as the robot turns the picture moves up and down: it is turned to the {way} by 90 degrees", _TURN)
    if across > -_ALMOST:
        return green(f"as the robot turns the picture moves as it should ({across:.2f} of it)")
    if _turns_against_commands(observed):
        return green("the picture turns as commanded; it is odometry that does not, see odometry sign")
    is_upside_down = _is_upside_down(observed, motion)
    if is_upside_down:
        return red("the picture is upside down: it moves the wrong way, and its horizon is below the middle", _TURN)
    if is_upside_down is not None:
        return red("the picture is mirrored: it moves the wrong way as the robot turns", _MIRROR)
    return red("the picture moves the wrong way as the robot turns: mirrored, or upside down", f"{_MIRROR} {_TURN}")


_TURN = "let the driver turn the picture (rotate_180, flip), or the camera"
_MIRROR = "let the driver mirror it back; or odometry's turns are reversed."


def camera_height(observed: Observations, motion: PictureMotion) -> Finding:
    """Compare the camera's height, by tf and by how fast the floor passes, with what the model was trained with."""
    wanted, told = observed.trained.height_m, observed.mounting
    seen_m = 1.0 / motion.floor_rate if motion.drive_pairs >= FEWEST_DRIVES and motion.floor_rate > 0 else math.nan
    if told is None and math.isnan(seen_m):
        return unknown("no tf of the camera, and no drive of 0.5 m straight ahead")
    height_m = seen_m if told is None else told.height_m
    by = "by tf" if told is not None else "by how fast the floor passes"
    also = f", {seen_m:.1f} m by the picture" if told is not None and not math.isnan(seen_m) else ""
    share = height_m / wanted
    return graded(
        f"the camera is {height_m:.2f} m high {by}{also}; the model was trained with {wanted:g} m",
        f"mount it nearer to {wanted:g} m, or finetune on your robot's drives (docs/finetuning.md)",
        is_amber=share < 0.6 or share > 1.6,
        is_red=share < 0.25 or share > 3.0,
    )


def camera_pitch(observed: Observations, motion: PictureMotion) -> Finding:
    """Compare how far the camera looks down, by tf and by the horizon, with what the model was trained with."""
    wanted, told = observed.trained.pitch_deg, observed.mounting
    seen_deg = math.nan
    if motion.drive_pairs >= FEWEST_DRIVES and not math.isnan(motion.horizon_y):
        seen_deg = -math.degrees(math.atan(motion.horizon_y))
    if told is None and math.isnan(seen_deg):
        return unknown("no tf of the camera, and no drive of 0.5 m straight ahead")
    if told is not None and abs(math.degrees(told.pitch_rad) - seen_deg) > _SAME_DEG:
        return amber(
            f"the camera looks down by {math.degrees(told.pitch_rad):.0f} degrees by tf, by {seen_deg:.0f} by where the"
            " horizon is",
            "mend the transform of the camera, or straighten the camera",
        )
    pitch_deg = seen_deg if told is None else math.degrees(told.pitch_rad)
    by = "by tf" if told is not None else "by where the horizon is"
    off = abs(pitch_deg - wanted)
    return graded(
        f"the camera looks down by {pitch_deg:.0f} degrees {by}; the model was trained with {wanted:g}",
        f"tilt it to {wanted:g} degrees, or finetune on your robot's drives (docs/finetuning.md)",
        is_amber=off > _OFF_PITCH_DEG,
        is_red=off > _FAR_PITCH_DEG,
    )


def camera_heading(observed: Observations, motion: PictureMotion) -> Finding:
    """Say whether the camera looks ahead."""
    del observed
    if motion.drive_pairs < FEWEST_DRIVES or math.isnan(motion.ahead_x):
        return unknown("no drive of 0.5 m straight ahead")
    off_deg = math.degrees(math.atan(motion.ahead_x))
    side, seen = ("left", "right") if off_deg > 0 else ("right", "left")
    return graded(
        f"the robot drives toward a point {abs(off_deg):.0f} degrees {seen} of the middle",
        f"the camera looks to the {side} of where the robot drives: turn it straight ahead, or mend odometry's heading",
        is_amber=abs(off_deg) > 8,
        is_red=abs(off_deg) > 35,
    )


def _is_upside_down(observed: Observations, motion: PictureMotion) -> bool | None:
    """Whether the floor is above: by where the horizon is of a camera that looks down, else by which half moves faster.

    None if the robot did not drive.
    """
    if motion.drive_pairs < FEWEST_DRIVES or math.isnan(motion.horizon_y):
        return None
    told = observed.mounting
    pitch_rad = math.radians(observed.trained.pitch_deg) if told is None else told.pitch_rad
    if abs(pitch_rad) > _TELLS_RAD:
        return abs(motion.horizon_y - math.tan(pitch_rad)) < abs(motion.horizon_y + math.tan(pitch_rad))
    return None if math.isnan(motion.lower_ratio) else motion.lower_ratio < _WRONG_UP


def _turns_against_commands(observed: Observations) -> bool:
    told = commanded_and_measured(observed)
    return told is not None and told.turned_rad > 0.2 and told.turn_slope < 0
