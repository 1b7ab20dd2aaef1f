"""Multi-scale gaze on driving video with AutoGaze, as a ROS 2 node and without ROS."""

# The generated messages live in the install prefix, the sources here: one
# package name, several folders.
from pkgutil import extend_path

__path__ = extend_path(__path__, __name__)
__version__ = "0.1.0"
