"""Multi-scale gaze on driving video with AutoGaze, as a ROS 2 node and without ROS."""

import sys

# The generated messages live in the install prefix, the sources here: one
# package name, several folders.
from pkgutil import extend_path

__path__ = extend_path(__path__, __name__)
__version__ = "0.1.0"

# `python -m` puts the current folder first in the path, which may hold untrusted data, not code.
if sys.argv[:1] == ["-m"] and not (sys.flags.isolated or getattr(sys.flags, "safe_path", False)):
    del sys.path[0]
