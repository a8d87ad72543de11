"""Renders without a display: MuJoCo reads these when it is first imported."""

import os

os.environ.setdefault("MUJOCO_GL", "egl")
os.environ.setdefault("LP_NUM_THREADS", "1")
