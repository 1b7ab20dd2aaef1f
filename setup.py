"""Installation by pip of the parts that need no ROS; colcon uses CMakeLists.txt."""

from glob import glob
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
    package_data={"autogaze_ros": ["py.typed"], "autogaze_ros.checkpoints": ["weights/*.md", "weights/*/*"]},
    data_files=[("share/autogaze_ros/msg", sorted(glob("msg/*.msg", root_dir=HERE)))],
    # Lower bounds of a library; requirements/ pins the tested versions.
    install_requires=[
        "av>=12",
        "backports.zstd>=1; python_version < '3.14'",
        "click>=8",
        "huggingface_hub>=0.24",
        "lz4>=4",
        "numpy>=1.26",
        "opencv-python-headless>=4.6,<5",
        "pillow>=10",
        "rosbags>=0.11,<0.12",
        "safetensors>=0.4",
        "torch>=2.4",
    ],
    extras_require={
        "drive": ["numba>=0.61"],
        # LPIPS also needs weights: see autogaze_ros/evaluation/lpips.py.
        "evaluation": ["matplotlib>=3.8", "pyarrow>=15", "scikit-image>=0.22", "scipy>=1.11"],
        "training": ["matplotlib>=3.8", "numba>=0.61", "torch>=2.9"],
        # NVlabs' package for comparison: it is on no index; this is the commit that was compared.
        "upstream": [
            "autogaze @ git+https://github.com/NVlabs/AutoGaze@2943b28b94c6aeaf0677a20c55444f3a0706e43a",
            "transformers>=4.51,<4.58",
        ],
    },
    entry_points={"console_scripts": ["autogaze = autogaze_ros.cli:main"]},
)
