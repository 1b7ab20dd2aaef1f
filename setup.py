"""pip's door to the parts that need no ROS; colcon goes through CMakeLists.txt."""

from pathlib import Path

from setuptools import find_packages, setup

HERE = Path(__file__).parent
PINS = (HERE / "requirements" / "runtime.txt").read_text().splitlines()

setup(
    name="autogaze_ros",
    version="0.1.0",
    description="Multi-scale gaze on camera images with AutoGaze",
    long_description=(HERE / "README.md").read_text(),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    python_requires=">=3.10",
    package_dir={"": "src"},
    packages=find_packages("src"),
    install_requires=["torch", *(pin.replace("==", ">=") for pin in PINS if pin and pin[0] != "#")],
    entry_points={"console_scripts": ["autogaze = autogaze_ros.cli:main"]},
)
