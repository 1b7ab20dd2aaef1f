"""First contact with the project: the build, the Makefile, the README and the pages in docs/."""

import os
import re
import shutil
import subprocess
import sys
import textwrap
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import numpy as np
import pytest
import yaml

from autogaze_ros.checkpoints.embedded import EMBEDDED
from autogaze_ros.io.video_writers import video_writer
from autogaze_ros.parameters import CAMERA_PARAMETERS, CAMERAS, PARAMETERS, REPLAY
from autogaze_ros.selectors import SELECTORS, create_selector

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
PAGES = ["README.md", "CONTRIBUTING.md", *(f"docs/{path.name}" for path in sorted(ROOT.glob("docs/*.md")))]
BIN = Path(sys.executable).parent
MAKE = shutil.which("make")
STAMP = ".venv/interfaces.stamp"


def make(*arguments, **environment):
    """Run make as from a user's shell, also where these tests were started by make."""
    outside = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))}
    return subprocess.run(
        [MAKE, *arguments], cwd=ROOT, capture_output=True, text=True, env={**outside, **environment}
    )


@pytest.fixture
def made():
    """The environment that make itself has built."""
    if Path(sys.prefix).resolve() != (ROOT / ".venv").resolve():
        pytest.skip("not run from the environment that make builds")
    if make("--question", STAMP).returncode:
        pytest.skip("that environment is not up to date: run make test")


@pytest.mark.parametrize(
    "touched, expected",
    [("README.md", 0), ("msg/GazeMask.msg", 1), ("requirements/runtime.txt", 1), ("CMakeLists.txt", 1)],
)
def test_make_notices_changed_messages_and_pins(made, touched, expected):
    assert make("--question", "-W", touched, STAMP).returncode == expected


@pytest.mark.parametrize("changed", ["msg/GazeMask.msg", "requirements/runtime.txt"])
@pytest.mark.parametrize(
    "missing, message",
    [("cmake", "CMake is missing (cmake)"), ("c++", "A C++ compiler is missing (c++)")],
)
def test_a_missing_tool_is_told_in_one_line_before_any_work(made, tmp_path, missing, message, changed):
    for tool in ("sh", "echo", "mkdir", "sed", "cmp", "cp", "cmake", "c++"):
        if tool != missing:
            (tmp_path / tool).symlink_to(shutil.which(tool))
    result = make("-W", changed, STAMP, PATH=str(tmp_path))
    assert result.returncode != 0 and not result.stdout
    lines = [line for line in result.stderr.splitlines() if not line.startswith("make: ***")]
    assert len(lines) == 1 and message in lines[0] and "apt install" in lines[0]


def test_choices_hold_until_others_are_made(made):
    choices = ROOT / "build" / "choices"
    before = choices.read_text()
    try:
        assert make("--question", STAMP).returncode == 0
        assert make("--question", STAMP, "TORCH_INDEX=somewhere").returncode == 1
        assert "somewhere" in choices.read_text()
        assert make("--question", STAMP).returncode == 1
    finally:
        choices.write_text(before)
        os.utime(choices, (0, 0))


def test_an_unfit_python_is_told_in_one_line(made):
    choices = ROOT / "build" / "choices"
    before = choices.read_text()
    result = make(STAMP, "PYTHON=no-such-python")
    choices.write_text(before)
    os.utime(choices, (0, 0))
    lines = [line for line in result.stderr.splitlines() if not line.startswith("make: ***")]
    assert len(lines) == 1 and "no-such-python" in lines[0]


def test_every_package_is_pinned():
    pins = [
        line
        for file in (ROOT / "requirements").glob("*.txt")
        for line in file.read_text().splitlines()
        if line and not line.startswith("#")
    ]
    assert len(pins) > 20 and all(re.fullmatch(r"[\w.-]+==[\w.]+", pin) for pin in pins)


def test_package_xml_names_what_stock_ros_must_install():
    root = ElementTree.parse(ROOT / "package.xml").getroot()
    assert root.get("format") == "3"
    keys = {element.text for element in root if element.tag.endswith("depend")}
    # ROS packages, and keys that rosdep's list was seen to have.
    assert keys <= {
        "ament_cmake", "ament_cmake_python", "rosidl_default_generators", "rosidl_default_runtime",
        "rclpy", "sensor_msgs", "std_msgs", "std_srvs", "diagnostic_msgs", "cv_bridge",
        "launch", "launch_ros", "rosgraph_msgs",
        "python3-click", "python3-numpy", "python3-opencv", "python3-pil", "python3-pytest", "python3-yaml",
    }  # fmt: skip
    assert keys >= {
        "rclpy", "sensor_msgs", "std_msgs", "std_srvs", "diagnostic_msgs", "cv_bridge",
        "launch", "launch_ros", "rosgraph_msgs", "python3-numpy",
        "python3-opencv", "python3-click", "python3-pil", "python3-yaml",
    }  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("options", [[], ["--symlink-install"]], ids=["copies", "links"])
def test_colcon_builds_the_tree(tmp_path, options):
    """The installation by `colcon build` on a machine with ROS is complete."""
    tree = tmp_path / "ws" / "src" / "autogaze_ros"
    ignore = shutil.ignore_patterns(".venv", "build", ".git", "test", "demo_out", "*.egg-info", "__pycache__")
    shutil.copytree(ROOT, tree, ignore=ignore)
    environment = {**os.environ, "PATH": f"{BIN}:{os.environ['PATH']}", "VIRTUAL_ENV": sys.prefix}
    command = [
        *("colcon", "--log-base", "log", "build", *options, "--event-handlers", "console_direct+"),
        *("--cmake-args", "-DBUILD_TESTING=OFF", f"-DCMAKE_PREFIX_PATH={sys.prefix}"),
    ]
    built = subprocess.run(command, cwd=tmp_path / "ws", capture_output=True, text=True, env=environment)
    assert built.returncode == 0, built.stdout[-3000:] + built.stderr[-3000:]
    install = tmp_path / "ws" / "install" / "autogaze_ros"
    python = next(install.glob("lib/python3*/site-packages"))
    assert sorted(path.name for path in (install / "lib" / "autogaze_ros").iterdir()) == [
        "autogaze", "carla_stand_in", "clip_player", "gaze_node", "replay",
    ]  # fmt: skip
    for path in ("launch/autogaze.launch.py", "config/fastdds_shm.xml", "msg/GazeMask.msg", "package.xml"):
        assert (install / "share" / "autogaze_ros" / path).exists()
    for network in ("gaze", "gaze_driving", "importance", "reconstructor"):
        for file in ("config.json", "model.safetensors"):
            assert (python / "autogaze_ros" / "checkpoints" / "weights" / network / file).exists()
    code = (
        "import autogaze_ros.tokens, autogaze_ros.ros.gaze_node as node, autogaze_ros.msg as msg\n"
        "print(autogaze_ros.tokens.__file__, node.__file__, msg.__file__, sep='\\n')"
    )
    shown = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True,
        env={**environment, "PYTHONPATH": str(python)}, cwd=tmp_path,
    )  # fmt: skip
    assert all(line.startswith(str(python)) for line in shown.stdout.splitlines())
    assert (python / "autogaze_ros" / "tokens.py").is_symlink() == bool(options)


def anchors(page):
    """The anchors of a page's headings, as GitHub and MkDocs make them."""
    headings = re.findall(r"^#+ (.+)$", (ROOT / page).read_text(), re.M)
    return {re.sub(r"[^\w -]", "", heading).lower().replace(" ", "-") for heading in headings}


MODEL_CARD = "src/autogaze_ros/checkpoints/weights/MODEL_CARD.md"


@pytest.mark.parametrize("page", [*PAGES, MODEL_CARD])
def test_links_lead_to_files_and_headings(page):
    for target in re.findall(r"\]\(([^)]+)\)", (ROOT / page).read_text()):
        path, _, heading = target.partition("#")
        if "://" not in target:
            file = (ROOT / page).parent.joinpath(path) if path else ROOT / page
            assert file.exists(), target
            assert not heading or heading in anchors(file), target


def test_the_page_of_the_interface_names_every_launch_file_and_their_own_arguments():
    section = text_of("ros_interface", "Launch files")
    for path in (ROOT / "launch").glob("*.launch.py"):
        assert f"`{path.name}`" in section
        for argument in re.findall(r"\bargument\(\s*\"(\w+)\"", path.read_text()):
            assert f"`{argument}`" in section, argument


def text_of(page, heading):
    """The text under a heading of a page in docs/, or of README."""
    text = README if page == "README" else (ROOT / "docs" / f"{page}.md").read_text()
    return text.split(f"## {heading}\n", 1)[1].split("\n## ", 1)[0]


def table(page, heading):
    """The rows of the table under a heading, cells stripped of backquotes."""
    lines = text_of(page, heading).splitlines()
    rows = [line.strip("|").split("|") for line in lines if line.startswith("| `")]
    return [[cell.strip().strip("`") for cell in row] for row in rows]


def test_parameters_of_the_replay_are_those_of_its_page():
    rows = {name: (default, meaning) for name, default, meaning in table("bags", "Parameters of the replay")}
    assert list(rows)[:-1] == list(REPLAY)
    for name, parameter in REPLAY.items():
        assert yaml.safe_load(rows[name][0] or "''") == parameter.default, name


MARKS = {"frame": "live", "context": "next context", "never": "fixed", "unconfigured": None}


def test_parameters_of_the_node_are_those_of_the_page_of_its_interface():
    expected = {"cameras": CAMERAS, **PARAMETERS}
    expected |= {f"<camera>.{name}": parameter for name, parameter in CAMERA_PARAMETERS.items()}
    rows = {name: (default, meaning) for name, default, meaning in table("ros_interface", "Parameters")}
    assert list(rows) == list(expected)
    for name, parameter in expected.items():
        assert yaml.safe_load(rows[name][0] or "''") == parameter.default, name
        mark = re.match(r"\*([\w ]+)\*; ", rows[name][1])
        assert MARKS[parameter.changes] == (mark and mark[1]), name
        if parameter.bounds:
            assert all(bound in rows[name][1] for bound in map("{:.16g}".format, parameter.bounds)), name


def test_the_readmes_short_tables_are_parts_of_the_long_ones():
    for heading, columns in (("Topics", 1), ("Parameters", 2)):
        long = {tuple(row[:columns]) for row in table("ros_interface", heading)}
        short = [tuple(row[:columns]) for row in table("README", heading)]
        assert 5 < len(short) <= 10 and set(short) <= long


def test_the_readmes_lines_of_python_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with video_writer("drive.mp4", 10.0) as write:
        for _ in range(2):
            write(np.full((90, 160, 3), 128, np.uint8))
    names = {}
    exec(textwrap.dedent(text_of("README", "Python").split("\n\nEngines,")[0]), names)
    assert names["boxes"].shape == (len(names["gazed"].record.token_ids), 4)


def test_the_readme_is_short_and_comes_to_ros_soon():
    lines = README.splitlines()
    assert len(lines) <= 155
    assert any("ros2 launch autogaze_ros" in line for line in lines[:40])


@pytest.mark.parametrize("name", [name for name in SELECTORS.builtin if name != "upstream"])
def test_the_page_of_selectors_has_each_ones_own_requirement(name):
    rows = {row[0]: row[2:] for row in table("selectors", "The selectors")}
    if name not in rows:
        pytest.skip(f"docs/selectors.md has no row for {name}")
    selector = create_selector(name, checkpoint=EMBEDDED, device="cpu")
    units, own = rows[name]
    assert float(own.rpartition("`")[2]) == selector.requirement("auto")
    assert (selector.loss_units or "none") in units


@pytest.mark.parametrize("name", ["GazeMask", "GazeInfo", "StageLatency"])
def test_the_page_of_messages_names_every_field(name):
    text = (ROOT / "msg" / f"{name}.msg").read_text()
    section = text_of("messages", "Fields")
    for field in re.findall(r"^[\w/\[\]0-9]+\s+(\w+)\s+#", text, re.M):
        assert f"`{field}`" in section, field


def test_every_room_of_the_package_is_on_the_page_of_architecture():
    rows = {row[0] for row in table("architecture", "Rooms")}
    named = {name for cell in rows for name in re.findall(r"[\w.]+", cell)}
    package = ROOT / "src" / "autogaze_ros"
    rooms = {path.parent.name for path in package.glob("*/__init__.py")}
    files = {path.name for path in package.glob("*.py")} - {"__init__.py"}
    assert named == rooms | files
