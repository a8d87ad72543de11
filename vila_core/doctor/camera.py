"""Checks of the camera: how often and how old, what is in the picture, how it looks, where it is mounted."""

from __future__ import annotations

import math
from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from vila_core.config import NavigatorConfig
from vila_core.control.pose_buffer import PoseBuffer
from vila_core.doctor.findings import Finding, amber, graded, green, red, unknown
from vila_core.doctor.observations import Observations, SeenFrame
from vila_core.history.camera_watch import CameraWatch
from vila_core.history.thumbnail import Thumbnail, thumbnail
from vila_core.media.encodings import ENCODINGS
from vila_core.types import Frame, Odometry

_FEWEST = 5  # pictures to judge by
_SAMPLES = 40  # that are looked at closely
_SLOW_HZ = 5.0  # less than the 0.2 s between two looks at a robot that turns half a radian a second
_GAPS = 2.5  # of the usual time between two images
_GAP_SHARE = 0.05
_MODEL_PX = 224  # side of the square that a small tower reads; blur is counted in its pixels
_COLOURED_SHARE = 0.01
# In 44 simulated flats the score of pictures as they should be was never below -5.3; it was above 5.8 in 10 of 24
_SWAPPED_SCORE, _UNSURE_SCORE = 5.8, 1.0
_LUMA = np.array([0.299, 0.587, 0.114], np.float32)
_GREY_LEVELS = 2.0  # between the channels of a grey picture

_NO_FRAMES = unknown("no images")


def image_rate(observed: Observations) -> Finding:
    """Say whether images come often enough to drive by."""
    periods = _periods_s(observed.frames)
    if len(periods) < _FEWEST:
        return unknown("fewer than six images")
    rate_hz, longest_s = 1.0 / float(np.median(periods)), observed.limits.max_image_age_s
    return graded(
        f"{rate_hz:.1f} images a second",
        f"let the driver publish more, or smaller ones: {_SLOW_HZ:g} a second at least",
        is_amber=rate_hz < _SLOW_HZ,
        is_red=1.0 / rate_hz > longest_s,
    )


def image_gaps(observed: Observations) -> Finding:
    """Say whether images come evenly: lost ones leave gaps."""
    periods = _periods_s(observed.frames)
    if len(periods) < 2 * _FEWEST:
        return unknown("fewer than eleven images")
    usual_s, longest_s = float(np.median(periods)), float(periods.max())
    share = float((periods > _GAPS * usual_s).mean())
    return graded(
        f"longest gap between images {longest_s:.2f} s, {100 * share:.0f} % of the gaps are long",
        "images get lost: use config/fastdds.xml, a wired camera, or smaller images (docs/cameras.md)",
        is_amber=share > _GAP_SHARE or longest_s > max(4 * usual_s, observed.limits.max_image_age_s),
        is_red=longest_s > 4 * observed.limits.max_image_age_s,
    )


def image_age(observed: Observations) -> Finding:
    """Say how old images are when they come."""
    if len(observed.frames) < _FEWEST:
        return _NO_FRAMES
    ages = np.array([(frame.arrival_ns - frame.stamp_ns) / 1e9 for frame in observed.frames])
    age_s, limit_s = float(np.quantile(ages, 0.9)), observed.limits.max_image_age_s
    if age_s > 60.0 or age_s < -1.0:
        return unknown("stamps and arrival are of two clocks, see camera clock")
    return graded(
        f"images are {1000 * age_s:.0f} ms old when they come, one in ten is older",
        f"older than {1000 * limit_s:.0f} ms none is answered: raw instead of compressed, a smaller image, a wire",
        is_amber=age_s > limit_s / 2,
        is_red=age_s > limit_s,
    )


def encoding(observed: Observations) -> Finding:
    """Say whether images can be decoded, and as which colours."""
    if observed.image_faults:
        return red(f"images are refused: {observed.image_faults[-1]}", "docs/cameras.md lists what is taken")
    if not observed.frames:
        return _NO_FRAMES
    name = observed.frames[-1].encoding
    grey = np.mean([_is_grey(frame.image) for frame in _sampled(observed.frames)])
    if grey > 0.9:
        return amber(f"the picture is grey ({name})", "use a colour topic: instructions name colours")
    if name in ("8UC3", "8UC4", "16UC3", "16UC4"):
        return amber(f"{name} does not tell the order of colours; BGR is assumed", "let the driver say bgr8 or rgb8")
    known = name in ENCODINGS or name not in ("", "unknown")
    return green(f"{name}") if known else unknown("the encoding is not known")


def colour_order(observed: Observations) -> Finding:
    """Say whether red and blue seem to be swapped: indoors much is orange, as wood is, little is sky-blue."""
    score = _orange_score([frame.image for frame in _sampled(observed.frames)])
    if score is None:
        return unknown("too little colour in the pictures")
    if -_SWAPPED_SCORE <= score < _UNSURE_SCORE:
        return unknown("little is orange beside what is sky-blue: hold something red before the camera")
    much = f"{math.exp(abs(score) / 2):.0f} times as much is"
    return graded(
        f"{much} {'orange as is sky-blue' if score > 0 else 'sky-blue as is orange'}",
        "hold something red before the camera: if the page shows it blue, the driver names the wrong encoding, rgb8 for"
        " bgr8 or the reverse",
        is_amber=score < -_SWAPPED_SCORE,
        is_red=False,
    )


def picture(observed: Observations) -> Finding:
    """Say whether the camera shows what is there now: not black, covered, frozen or replayed."""
    if len(observed.frames) < _FEWEST:
        return _NO_FRAMES
    blank = [(picture.blank_text, picture.is_blank) for picture in map(_thumbnail, _sampled(observed.frames))]
    share = sum(is_blank for _, is_blank in blank) / len(blank)
    if share > 0.8:
        return red(
            f"the picture shows nothing: it is {blank[-1][0]}", "take the cap off, light the room, clean the lens"
        )
    watch, poses = CameraWatch(NavigatorConfig().max_blind_m, NavigatorConfig().max_blind_rad), PoseBuffer(1e6)
    for heard in sorted(observed.odometry, key=lambda one: one.odometry.stamp_ns):
        poses.add(heard.odometry)
    told = ""
    for frame in observed.frames:
        watch.add(Frame(frame.image, frame.stamp_ns), _odometry_at(poses, frame.stamp_ns))
        told = told or ("" if watch.fault is None else watch.fault.detail)
    if told:
        return red(told, "restart the camera's driver; docs/cameras.md")
    return green("it shows something, and changes as the robot moves")


def exposure(observed: Observations) -> Finding:
    """Say whether pictures are too dark or too bright."""
    if len(observed.frames) < _FEWEST:
        return _NO_FRAMES
    greys = [_small(frame.image) @ _LUMA for frame in _sampled(observed.frames)]
    level = float(np.median([np.median(grey) for grey in greys]))
    black, white = (float(np.median([at(grey).mean() for grey in greys])) for at in (_is_black, _is_white))
    return graded(
        f"middle grey {level:.0f} of 255, {100 * black:.0f} % black, {100 * white:.0f} % white",
        "set exposure and gain of the camera to automatic, or light the room; the model has seen rooms by day",
        is_amber=level < 28 or level > 225 or white > 0.35 or black > 0.4,
        is_red=level < 14 or white > 0.7,
    )


def blur(observed: Observations) -> Finding:
    """Say how wide edges are in the pixels of the model."""
    widths = [_edge_px(frame.image) for frame in _sampled(observed.frames)]
    known = [width for width in widths if not math.isnan(width)]
    if len(known) < _FEWEST:
        return unknown("no edges in the pictures")
    width = float(np.quantile(known, 0.25))  # what is blurred by the robot's motion is none of the lens
    return graded(
        f"edges are {width:.1f} pixels wide of the {_MODEL_PX} that a small model reads",
        "clean the lens, take its film off, turn its ring; shorten the exposure if it is sharp while the robot stands",
        is_amber=width > 1.25,
        is_red=width > 2.5,
    )


def field_of_view(observed: Observations) -> Finding:
    """Compare the width of view with what the model was trained with."""
    optics, wanted = observed.optics, observed.trained.hfov_deg
    if optics is None or optics.focal_px <= 0:
        return unknown("no camera_info with a focal length")
    if observed.frames:
        height, width, _ = observed.frames[-1].image.shape
        if abs(width / height - optics.width_px / optics.height_px) > 0.02:
            return amber(
                f"camera_info is of {optics.width_px} x {optics.height_px}, the images are {width} x {height}",
                "publish the camera_info of the mode that the camera runs in",
            )
    fov_deg = 2 * math.degrees(math.atan(optics.width_px / 2 / optics.focal_px))
    off = abs(fov_deg - wanted)
    return graded(
        f"{fov_deg:.0f} degrees wide, the model was trained with {wanted:.0f}",
        f"set the navigator's image_hfov_deg to {fov_deg:.0f}, if that is not done; better is a lens of {wanted:.0f}"
        " degrees, or a model finetuned on your camera (docs/finetuning.md)",
        is_amber=off > 15,
        is_red=off > 50,
    )


def _sampled(frames: Sequence[SeenFrame]) -> Sequence[SeenFrame]:
    return frames[:: max(1, len(frames) // _SAMPLES)]


def _periods_s(frames: Sequence[SeenFrame]) -> NDArray[np.float64]:
    """Between the stamps of images, those that tell a time alone."""
    stamps = np.array([frame.stamp_ns for frame in frames], np.float64)
    periods = np.diff(stamps) / 1e9
    return periods[periods > 0]


def _is_grey(image: NDArray[np.uint8]) -> bool:
    small = _small(image).astype(np.int16)
    return float((small.max(axis=2) - small.min(axis=2)).mean()) < _GREY_LEVELS


def _is_black(grey: NDArray[np.float32]) -> NDArray[np.bool_]:
    return grey < 12


def _is_white(grey: NDArray[np.float32]) -> NDArray[np.bool_]:
    return grey > 250


def _orange_score(images: Sequence[NDArray[np.uint8]]) -> float | None:
    """The logarithms of how much more is orange than sky-blue, of two strengths, added; None of too few.

    Swapping red and blue makes one of the other, so it turns the sign.
    """
    if not images:
        return None
    hsv = np.concatenate([cv2.cvtColor(_small(image), cv2.COLOR_RGB2HSV_FULL).reshape(-1, 3) for image in images])
    hue, saturation, value = hsv[:, 0] * (360 / 256), hsv[:, 1], hsv[:, 2]
    is_orange, is_blue = (hue > 15) & (hue < 48), (hue > 192) & (hue < 225)
    score, coloured, least = 0.0, 0, len(hsv) / 1000
    for low, high in ((60, 110), (110, 256)):
        is_in = (saturation >= low) & (saturation < high) & (value > 40)
        orange, blue = int((is_in & is_orange).sum()), int((is_in & is_blue).sum())
        score += math.log((orange + least) / (blue + least))
        coloured += orange + blue
    return score if coloured > len(hsv) * _COLOURED_SHARE else None


def _small(image: NDArray[np.uint8], side: int = 96) -> NDArray[np.uint8]:
    return np.asarray(cv2.resize(image, (side, side), interpolation=cv2.INTER_AREA), np.uint8)


def _edge_px(image: NDArray[np.uint8]) -> float:
    """Standard deviation of the blur of the sharpest strong edges, in pixels of the model; NaN without strong edges.

    An edge of contrast C that is blurred by a Gaussian of deviation w has a slope of C / (w sqrt(2 pi)) at most.
    """
    grey = cv2.cvtColor(_small(image, _MODEL_PX), cv2.COLOR_RGB2GRAY).astype(np.float32)
    slope = (
        np.maximum(
            np.abs(cv2.Sobel(grey, cv2.CV_32F, 1, 0, ksize=1)), np.abs(cv2.Sobel(grey, cv2.CV_32F, 0, 1, ksize=1))
        )
        / 2
    )
    window = np.ones((11, 11), np.uint8)
    contrast = cv2.dilate(grey, window) - cv2.erode(grey, window)
    is_edge = contrast > 50
    if is_edge.sum() < 200:
        return math.nan
    steep = slope[is_edge] / contrast[is_edge]
    return 1.0 / (math.sqrt(2 * math.pi) * max(float(np.quantile(steep, 0.95)), 1e-3))


def _thumbnail(frame: SeenFrame) -> Thumbnail:
    return thumbnail(frame.image)


def _odometry_at(poses: PoseBuffer, stamp_ns: int) -> Odometry | None:
    try:
        return Odometry(stamp_ns, poses.at(stamp_ns))
    except LookupError:
        return None
