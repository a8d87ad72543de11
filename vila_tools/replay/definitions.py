"""Our messages as they lie in a bag: their fields, for they need not be installed where it is read."""

from __future__ import annotations

from vila_tools.label.recording import MISSION, MISSION_FIELDS

ACTION, STATS, GOVERNOR = "vila_nav/msg/NavAction", "vila_nav/msg/DecisionStats", "vila_nav/msg/GovernorState"
DEFINITIONS = {
    MISSION: MISSION_FIELDS,
    ACTION: (
        "std_msgs/Header header\nuint64 id\nuint64 mission_id\nuint8 kind\nfloat64 distance_m\nfloat64 angle_rad\n"
        "float32 probability\nuint16 hold_reason\nstring reply\nuint8 state\nfloat64 executed_m\nfloat64 executed_rad\n"
        "float64 commanded_m\nfloat64 commanded_rad\nuint16 fault\nstring detail\n"
    ),
    STATS: (
        "std_msgs/Header header\nuint64 id\nfloat32 latency_ms\nfloat32 image_age_ms\nfloat32[] probabilities\n"
        "uint32 history_frames\nuint32 visual_cache_hits\nuint32 visual_cache_misses\nuint64 dropped_frames\n"
        "uint64 holds\nuint64 late_answers\nuint64 refused_actions\nstring backend\nstring precision\n"
        "string prompt_sha256\nbuiltin_interfaces/Time[] frames\nuint32[] frame_visuals\nint32[] visual_tokens\n"
        "bool[] allowed\n"
    ),
    GOVERNOR: (
        "std_msgs/Header header\nuint8 state\nuint16 reason\nstring detail\nuint64 mission_id\nbool emergency_stop\n"
        "float32 speed_scale\nfloat64 commanded_m\nfloat64 commanded_rad\nuint64 refused\n"
    ),
}
