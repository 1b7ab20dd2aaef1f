"""The ROS 2 node; nothing outside this folder and demo/ imports rclpy."""
