"""Real ROS for the tests of this folder, which are skipped without it."""

from ros_fixtures import (  # noqa: F401 - pytest finds them here
    bag,
    lateness,
    ros,
    ros_environment,
    spinner,
    swept_shared_memory,
    video,
    wait_until,
)
