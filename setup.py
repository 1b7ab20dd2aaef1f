"""pip's door to the parts that need no ROS; colcon goes through CMakeLists.txt."""

from pathlib import Path

from setuptools import find_packages, setup

HERE = Path(__file__).parent

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
    # Bounds of a library; requirements/ pins what is tested.
    install_requires=[
        "av>=12",
        "click>=8",
        "huggingface_hub>=0.24",
        "numpy>=1.26",
        "opencv-python-headless>=4.6,<5",
        "pillow>=10",
        "rosbags>=0.11",
        "safetensors>=0.4",
        "torch>=2.4",
    ],
    entry_points={"console_scripts": ["autogaze = autogaze_ros.cli:main"]},
)
