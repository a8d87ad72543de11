"""ROS 2 around vila_core: the only package that imports rclpy and message types."""
