"""The rooms of ROS: the gaze node, replay and the demo; nothing outside imports rclpy."""
