"""`python -m autogaze_ros.cli`."""

from autogaze_ros.cli import main

main()
