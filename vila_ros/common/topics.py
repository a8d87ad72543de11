"""Names that nodes must agree on; topics are relative to their namespace."""

from __future__ import annotations

CMD_VEL = "cmd_vel"  # from the governor to the base
COMMANDS = "cmd_vel_nav"  # from the controller to the governor
ACTIONS = "navigator/action"
EXECUTION = "controller/execution"  # our controller reports there, and has a publisher only when it is ready
MISSIONS = "navigator/mission"
NAVIGATOR_HEARTBEAT = "navigator/heartbeat"
FRAMES = "navigator/frames"
GOVERNOR_STATE = "governor/state"
WATCHDOG_HEARTBEAT = "watchdog/heartbeat"
CAMERA_FRAME = "camera_optical"  # of images whose camera is not known: REP-103, z ahead
REMEMBERED_EMERGENCY = "emergency_stop"  # frame_id of the watchdog's heartbeat while the emergency stop is pressed
IMAGE = "image_raw"
COMPRESSED_SUFFIX = "/compressed"  # behind a topic of images, as image_transport names it
RAW, COMPRESSED, AUTO = TRANSPORTS = ("raw", "compressed", "auto")  # how images are taken
