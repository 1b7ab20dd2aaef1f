"""Multi-scale gaze on driving video with AutoGaze, as a ROS 2 node and without ROS."""

import os
import sys

# The generated messages live in the install prefix, the sources here: one
# package name, several folders.
from pkgutil import extend_path

__path__ = extend_path(__path__, __name__)
__version__ = "0.1.0"

# `python -m` puts the current folder first, where data of strangers may lie: it is no code.
if sys.argv[:1] == ["-m"] and sys.path[:1] == [os.getcwd()]:
    del sys.path[0]
