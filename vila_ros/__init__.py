"""The ROS 2 nodes around vila_core."""
