"""The history policies by name: which frames a prompt shows, and how many visual tokens of each."""

from __future__ import annotations

from collections.abc import Callable

from vila_core.config import HistoryConfig
from vila_core.errors import ConfigError
from vila_core.history.memory import MERGED, SAMPLED
from vila_core.history.navila_policy import NavilaPolicy
from vila_core.history.policy import HistoryPolicy, VisualInfo
from vila_core.history.window_policy import WindowPolicy, WindowSizes


def navila_policy(config: HistoryConfig, model: VisualInfo) -> HistoryPolicy:
    """Make NaVILA's own: frames evenly over all that was seen, chosen anew at each step."""
    return NavilaPolicy(model)


def streaming_policy(config: HistoryConfig, model: VisualInfo) -> HistoryPolicy:
    """Make a window that is appended to; what was before it is averaged in time and space.

    A model of F frames has by itself a window of 2F, of which F/2 outlive a rebuild, and a memory of F/2 visuals.
    """
    half = max(1, model.num_frames // 2)
    return WindowPolicy(model, window_sizes(config, WindowSizes(2 * model.num_frames, half, half)), MERGED)


def window_policy(config: HistoryConfig, model: VisualInfo) -> HistoryPolicy:
    """Make StreamVLN's: a window that is appended to and at its end begun anew, behind frames sampled from before.

    A model of F frames has by itself a memory of F - 1, so that a new window begins like NaVILA's prompt, and a
    window of F + 1: no more frames in all than `streaming` has in its window.
    """
    usual = WindowSizes(model.num_frames + 1, 0, model.num_frames - 1)
    return WindowPolicy(model, window_sizes(config, usual), SAMPLED)


POLICIES: dict[str, Callable[[HistoryConfig, VisualInfo], HistoryPolicy]] = {
    "navila": navila_policy,
    "streaming": streaming_policy,
    "window": window_policy,
}


def make_policy(config: HistoryConfig, model: VisualInfo) -> HistoryPolicy:
    """Make the policy that the configuration names.

    Raises ConfigError for sizes that do not fit each other.
    """
    return POLICIES[config.policy](config, model)


def window_sizes(config: HistoryConfig, usual: WindowSizes) -> WindowSizes:
    """Return the configured sizes, the usual ones where a size is -1.

    Raises ConfigError if no frame of the window would be new after a rebuild.
    """
    window = usual.window if config.window_frames < 0 else config.window_frames
    kept = min(usual.kept, window - 1) if config.kept_frames < 0 else config.kept_frames
    memory = usual.memory if config.memory_frames < 0 else config.memory_frames
    if kept >= window:
        raise ConfigError(f"kept_frames = {kept}: must be less than window_frames = {window}")
    return WindowSizes(window, kept, memory)
