from pathlib import Path
from xml.etree import ElementTree

from cli_harness import run

from autogaze_ros import __version__

ROOT = Path(__file__).parents[2]


def test_the_version_is_the_packages():
    assert run("--version").output == f"autogaze, version {__version__}\n"
    assert ElementTree.parse(ROOT / "package.xml").findtext("version") == __version__
    assert f'version="{__version__}"' in (ROOT / "setup.py").read_text()


def test_the_help_tells_of_every_command_in_a_whole_line():
    text = run("--help").output
    assert "gaze  " in text and "..." not in text.split("Commands:")[1]
