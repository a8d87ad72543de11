"""What the code does not say itself: a line about each topic, service and action."""

from __future__ import annotations

NODES = {
    "navigator": (
        "Images and an instruction in, one action after the other out; and events. A lifecycle node, which comes up\n"
        "by itself unless `autostart` is false. A camera is all that it needs to report events; to navigate it needs\n"
        "odometry and a controller too. Each name in `cameras` adds the parameters `camera.NAME.topic`,\n"
        "`camera.NAME.reliability` and `camera.NAME.transport`: see [Cameras](cameras.md)."
    ),
    "controller": (
        "Drives each action in odometry, and stands still when the navigator or the odometry is silent. It takes\n"
        "actions from the first fresh odometry on. Under `use_sim_time` it needs a `/clock` of 8 Hz or more, 50\n"
        "is usual: see [Clocks](architecture.md#clocks)."
    ),
    "governor": (
        "The last word on velocity, between controller and base, and the only publisher of `cmd_vel`. Nothing passes\n"
        "but on a mission of the navigator, for its action, within limits that trust neither model nor odometry: see\n"
        "[Safety](safety.md)."
    ),
    "watchdog": (
        "Publishes zero velocity when the governor falls silent, and remembers the emergency stop for one that is\n"
        "started again."
    ),
    "page": (
        "A view of the robot for browsers, and its commands from there: see [The page](page.md). It only hears, calls\n"
        "what the navigator offers, and presses the governor's emergency stop; the robot drives without it."
    ),
    "voice": (
        'Hears spoken instructions and "stop", reads back, and speaks: see [Voice](voice.md). Started with\n'
        "`voice:=true`; it calls what the navigator offers, and presses the governor's emergency stop. The robot\n"
        "drives without it."
    ),
    "recorder": (
        "Keeps what the robot saw, decided and did, in bags of a bounded size: see [Recording](recording.md). Started\n"
        "with `record:=true`; it only listens. What it hears is what somebody publishes by then, so it is not listed\n"
        "here."
    ),
    "simulator": "A furnished flat with a robot, on the topics that a real robot has.",
}

ENDPOINTS = {
    (
        "navigator",
        "image_raw",
    ): "the camera, in [any usual encoding](cameras.md); or the topic with `/compressed` behind",
    ("navigator", "odom"): "where the robot is; without it events alone",
    ("navigator", "controller/execution"): "what became of an action, and that there is a controller",
    ("navigator", "~/action"): "each decision, with the stamp of its image",
    ("navigator", "~/stats"): "latency, ten probabilities, cache hits, dropped frames",
    ("navigator", "governor/state"): "whether a mission may begin, and whether it may go on",
    (
        "navigator",
        "~/frames",
    ): "the images that a decision was made of, each once, if anybody listens",
    ("navigator", "~/debug_image/compressed"): "a decision as a picture: what the model saw, and the best replies",
    ("navigator", "~/markers"): "a decision for RViz: action, anchor pose, path; if visualization_msgs is there",
    ("navigator", "~/path"): "the way by odometry since the mission began; made, as the two above, if anybody listens",
    ("navigator", "~/mission"): "the mission: its number, its begin, its end; again and again",
    ("navigator", "~/heartbeat"): "while healthy; without it the controller stops",
    ("navigator", "~/events"): "what is seen of a query, when confirmed and when over; latecomers get the last 100",
    (
        "navigator",
        "/diagnostics",
    ): "ready or why not, checkpoint, precision, last hold, queries; in: the controller's",
    (
        "navigator",
        "~/status",
    ): "what it does, latched; another `run`: it was started again, and goals are lost",
    ("navigator", "~/instance"): "who it is and since when, latched: a second one of its name does not work",
    ("navigator", "~/set_instruction"): "follow this, without an action client",
    ("navigator", "~/cancel_instruction"): "stop following it",
    ("navigator", "~/navigate"): "follow an instruction; result: outcome, `error_code`, metres, decisions",
    ("navigator", "~/go_back"): "drive back to where it was at a time, or when it last saw a thing; no model is asked",
    ("navigator", "~/watch"): "look out for something, until told otherwise",
    ("navigator", "~/unwatch"): "look out for it no longer",
    ("navigator", "~/localize"): "when was it? times with probabilities, or not seen",
    ("navigator", "~/describe"): "a question about the past, answered in words",
    ("navigator", "~/recall"): "where was a thing last seen? pose, time, picture, or not seen",
    ("navigator", "~/tag"): "give a name to what is seen, to find it again",
    ("controller", "/diagnostics"): "whether it is ready to drive, and if not, what is wrong with clock or stamps",
    ("controller", "~/instance"): "who it is and since when, latched: a second one of its name does not work",
    ("governor", "~/instance"): "who it is and since when, latched: a second one of its name lets nothing pass",
    ("controller", "odom"): "where the robot is",
    ("controller", "navigator/action"): "what to drive",
    ("controller", "navigator/heartbeat"): "that the navigator lives",
    ("controller", "governor/state"): "whether commands pass; once heard, its silence ends a motion",
    ("controller", "cmd_vel"): "what passes to the base, which may be less than was commanded",
    ("controller", "cmd_vel_nav"): "during a motion and a second after, at `rate_hz`; its type by `velocity_type`",
    ("controller", "~/execution"): "running, done, refused or aborted, and the motion measured",
    ("governor", "cmd_vel_nav"): "what the controller commands",
    ("governor", "navigator/action"): "what it is for, and thereby how much",
    ("governor", "navigator/mission"): "that a mission begins, goes on, ends",
    ("governor", "watchdog/heartbeat"): "that the watchdog lives; `frame_id`: the emergency stop that it remembers",
    ("governor", "teleop/cmd_vel"): "the operator drives: at once, and the mission is over",
    ("governor", "joy"): "the operator takes over; a button is the emergency stop with `joy_emergency_button`",
    ("governor", "scan"): "a laser's measurements, with `obstacles.sources` holding scan",
    ("governor", "emergency_stop"): "true: stop and stay so; latched publishers are heard too",
    ("governor", "cmd_vel"): "what passes, at `rate_hz`; nothing when idle",
    ("governor", "~/state"): "what passes and why, 20 times a second",
    ("governor", "~/lock"): "true: nobody else may drive the base; a lock for twist_mux, as often as the state",
    ("governor", "~/emergency_stop"): "true: stop and stay so; false: release, which resumes nothing",
    ("governor", "/diagnostics"): "why a mission was revoked",
    ("recorder", "/diagnostics"): "which file is written, what was lost, and why nothing is written any more",
    ("watchdog", "governor/state"): "that the governor lives",
    ("watchdog", "cmd_vel"): "zeros, when the governor does not",
    ("watchdog", "~/heartbeat"): "that the watchdog lives",
    ("voice", "~/audio"): "sound, where `source` is topic: one channel, 8 to 192 kHz",
    ("voice", "~/say"): "what the robot is to say",
    ("voice", "~/heard"): "what somebody said, what it was for, and how sure that is",
    ("voice", "~/speech"): "what the robot says, as sound, where `output` is topic",
    ("page", "image_raw"): "the camera; or the topic with `/compressed` behind, which costs less",
    ("page", "odom"): "where the robot is",
    ("page", "navigator/action"): "each decision",
    ("page", "navigator/stats"): "how probable each action was, and what it took",
    ("page", "navigator/mission"): "which instruction is followed, and how it ended",
    ("page", "navigator/status"): "whether there is a navigator; another `run`: its queries are gone",
    ("page", "navigator/events"): "what was seen of standing queries",
    ("page", "navigator/execution"): "how far an action got, where Nav2 drives",
    ("page", "controller/execution"): "how far an action got",
    ("page", "governor/state"): "what passes and why; that the emergency stop holds",
    ("page", "/diagnostics"): "what the nodes say of themselves",
    ("simulator", "cmd_vel"): "drive so, for `robot.command_life_s`",
    ("simulator", "camera/image_raw"): "what the robot's camera sees, rgb8",
    ("simulator", "camera/camera_info"): "the intrinsics of that camera",
    ("simulator", "odom"): "where the robot is, exactly",
    ("simulator", "scan"): "a laser scan of the full circle",
    ("simulator", "points"): "what a laser with many rings shows within 3 m, from the scan's place",
    ("simulator", "/clock"): "simulated time; heard instead without `publish_clock`",
    ("simulator", "~/scripted_events"): "what goes on in view, as JSON; with a patrol alone",
    ("simulator", "~/reset"): "everything to its start, in the world that the parameters now ask for; time goes on",
    ("simulator", "~/pause"): "true: time stands still, and is still told; false: it goes on",
    ("simulator", "~/step"): "20 ms of a paused simulation",
    ("simulator", "~/begin"): "begin the patrol; with a patrol alone",
}
