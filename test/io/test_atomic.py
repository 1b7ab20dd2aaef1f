import os
import socket
import subprocess
import sys
from contextlib import contextmanager

import pytest

from autogaze_ros.errors import OutputError
from autogaze_ros.io.atomic import atomic_folder, atomic_write, folder_to_fill, keep_apart


def test_a_folder_is_there_whole_or_not_at_all(tmp_path):
    target = tmp_path / "folder"
    with atomic_folder(target) as aside:
        aside.mkdir()
        assert aside.name == "folder" and aside.parent.name.startswith(".folder.")
        (aside / "new").touch()
    assert [path.name for path in tmp_path.rglob("*")] == ["folder", "new"]


def test_only_on_demand_a_folder_is_replaced(tmp_path):
    target = tmp_path / "folder"
    target.mkdir()
    (target / "old").touch()
    with pytest.raises(FileExistsError, match="folder exists already"), atomic_folder(target):
        pass
    with pytest.raises(RuntimeError), atomic_folder(target, replace=True) as aside:
        aside.mkdir()
        raise RuntimeError
    assert [path.name for path in tmp_path.rglob("*")] == ["folder", "old"]
    with atomic_folder(target, replace=True) as aside:
        aside.mkdir()
        (aside / "new").touch()
    assert [path.name for path in tmp_path.rglob("*")] == ["folder", "new"]


def test_the_current_folder_is_not_replaced(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in (".", tmp_path):
        with pytest.raises(FileExistsError, match="is the current folder"), atomic_folder(name):
            pass
    with atomic_folder("folder") as aside:
        aside.mkdir()
    assert list(tmp_path.rglob("*")) == [tmp_path / "folder"]


def test_missing_folders_are_made(tmp_path):
    with atomic_write(tmp_path / "a" / "b" / "file.txt") as aside:
        aside.write_text("text")
    with atomic_folder(tmp_path / "c" / "d" / "folder") as aside:
        aside.mkdir()
    assert (tmp_path / "a" / "b" / "file.txt").read_text() == "text"
    assert list((tmp_path / "c" / "d").iterdir()) == [tmp_path / "c" / "d" / "folder"]


def test_what_a_killed_run_left_is_no_hindrance(tmp_path):
    code = (
        "import os, sys\nfrom autogaze_ros.io.atomic import atomic_folder, atomic_write\n"
        "with atomic_folder(sys.argv[1]) as aside, atomic_write(sys.argv[1] + '.txt'):\n"
        "    aside.mkdir()\n    os._exit(9)\n"
    )
    subprocess.run([sys.executable, "-c", code, tmp_path / "folder"], check=False)
    assert len(list(tmp_path.iterdir())) == 3
    (tmp_path / "folder").mkdir()  # an empty one may be filled
    with atomic_folder(tmp_path / "folder") as aside, atomic_write(tmp_path / "folder.txt"):
        aside.mkdir()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["folder", "folder.txt"]


@pytest.fixture
def source(tmp_path):
    """A folder with a file, and a link to another file."""
    (tmp_path / "data" / "bag").mkdir(parents=True)
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "data" / "bag" / "bag.mcap").touch()
    (tmp_path / "elsewhere" / "part.mcap").touch()
    (tmp_path / "data" / "bag" / "part.mcap").symlink_to(tmp_path / "elsewhere" / "part.mcap")
    return tmp_path / "data" / "bag"


@pytest.mark.parametrize(
    "output",
    ["data/bag", "data", "data/bag/out", "data/../data/bag/new/out", ".", "elsewhere", "elsewhere/part.mcap"],
)
@pytest.mark.parametrize("relative", [False, True])
def test_no_output_is_or_holds_a_source_or_lies_inside_one(source, monkeypatch, output, relative):
    root = source.parents[1]
    monkeypatch.chdir(root)
    for named in (source, source / "bag.mcap") if output in ("data/bag", "data", ".") else (source,):
        with pytest.raises(OutputError, match="name another output"):
            keep_apart([root / "fine", output if relative else root / output], named)


def test_links_do_not_hide_a_source(source, tmp_path):
    (tmp_path / "link").symlink_to(source)
    for output, named in ((tmp_path / "link" / "out", source), (source / "out", tmp_path / "link")):
        with pytest.raises(OutputError, match="is inside"):
            keep_apart([output], named)
    (tmp_path / "hard.mcap").hardlink_to(source / "bag.mcap")
    with pytest.raises(OutputError, match="is the source"):
        keep_apart([tmp_path / "hard.mcap"], source / "bag.mcap")


def test_links_of_a_scenario_lead_to_its_source(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "scenario" / "camera").mkdir(parents=True)
    (tmp_path / "scenario" / "camera" / "rgb_front").symlink_to(tmp_path / "real")
    (tmp_path / "scenario" / "loop").symlink_to("loop")
    with pytest.raises(OutputError, match="is inside"):
        keep_apart([tmp_path / "real" / "out"], tmp_path / "scenario")
    keep_apart([tmp_path / "out"], tmp_path / "scenario")


def test_what_is_written_aside_is_a_new_file_of_this_run(tmp_path):
    with atomic_write(tmp_path / "a.txt") as one, atomic_write(tmp_path / "a.txt") as other:
        assert one != other
        one.write_text("one")
        other.write_text("other")
    assert (tmp_path / "a.txt").read_text() == "one" and len(list(tmp_path.iterdir())) == 1


def test_outputs_beside_sources_are_fine(source, tmp_path):
    keep_apart(
        [tmp_path / "out", source.parent / "bag2", source.parent / "bag.out"], source, "nvidia/AutoGaze", ""
    )


_HOLD = (
    "import sys\nfrom pathlib import Path\nfrom autogaze_ros.io import atomic as files\n"
    "with getattr(files, sys.argv[1])(Path(sys.argv[2])):\n    print(flush=True)\n    sys.stdin.read()\n"
)


@contextmanager
def another_writer(kind, folder):
    """Have another process write a folder during the context; it is killed in the end."""
    command = [sys.executable, "-c", _HOLD, kind, folder]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        process.stdout.readline()
        yield process
        process.kill()


@pytest.mark.parametrize("write", [folder_to_fill, atomic_folder])
@pytest.mark.parametrize("replace", [False, True])
def test_of_two_runs_into_one_folder_the_second_is_refused(tmp_path, write, replace):
    out = tmp_path / "out"
    with another_writer(write.__name__, out) as first:
        told = f"out is being written by process {first.pid} on {socket.gethostname()}"
        for _ in range(2):  # a refused run takes nothing away
            with pytest.raises(FileExistsError, match=told), write(out, replace=replace):
                pass
    with write(out, replace=replace) as aside:  # a killed run's lock is no hindrance
        (aside.mkdir() if aside else (out / "file").touch())
    assert [path for path in tmp_path.rglob("*") if path.name != "file"] == [out]


def test_a_folder_that_was_filled_meanwhile_is_not_filled_again(tmp_path):
    with pytest.raises(OSError), atomic_folder(tmp_path / "out") as aside:
        aside.mkdir()
        (tmp_path / "out").mkdir()
        (tmp_path / "out" / "file").touch()
    with pytest.raises(FileExistsError, match="exists already"), folder_to_fill(tmp_path / "out"):
        pass
    assert [path.name for path in tmp_path.rglob("*")] == ["out", "file"]


def test_a_lock_is_no_link_to_a_file_of_others(tmp_path):
    (tmp_path / "precious").write_text("kept")
    (tmp_path / "out").mkdir()
    os.symlink(tmp_path / "precious", tmp_path / "out" / ".autogaze.lock")
    with pytest.raises(OSError), folder_to_fill(tmp_path / "out"):
        pass
    assert (tmp_path / "precious").read_text() == "kept"
