"""Running `autogaze` in tests, and reading its results."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from click.testing import CliRunner, Result
from rosbags.highlevel import AnyReader

from autogaze_ros.cli import cli
from autogaze_ros.io.sources import open_source

PATCHES = ["--selector", "patch_difference", "--task-loss-requirement=0.2"]
GAZE = "/autogaze/front/gaze"


def run(*arguments: Any) -> Result:
    return CliRunner().invoke(cli, [str(argument) for argument in arguments])


def gazes(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (out / "gazes.jsonl").read_text().splitlines()]


def messages(bag: Path) -> list[tuple[str, int, bytes]]:
    """Return topic, receive time and CDR bytes of all messages of a bag."""
    with AnyReader([bag]) as reader:
        return [(connection.topic, time, data) for connection, time, data in reader.messages()]


def decoded(bag: Path, topic: str) -> list[tuple[int, Any]]:
    """Return receive time and message of a topic."""
    with AnyReader([bag]) as reader:
        wanted = [connection for connection in reader.connections if connection.topic == topic]
        return [(time, reader.deserialize(data, c.msgtype)) for c, time, data in reader.messages(wanted)]


def assert_all_have(out: Path, count: int) -> None:
    """Check that lines, video and bag have this many frames, and that no unfinished files remain."""
    assert sorted(path.name for path in out.iterdir()) == ["gazes.jsonl", "gazes_bag", "side_by_side.mp4"]
    assert len(gazes(out)) == len(list(open_source(out / "side_by_side.mp4"))) == count
    assert len(decoded(out / "gazes_bag", GAZE)) == count
