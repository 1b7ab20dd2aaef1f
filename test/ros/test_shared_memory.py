import fcntl
import mmap
import os

import pytest
from cli_harness import run

from autogaze_ros.cli import cli
from autogaze_ros.ros import fast_dds

DEAD, ALIVE, OLD = "fastdds_00000000000000d1", "fastdds_00000000000000a1", "fastrtps_00000000000000d2"
FOREIGN = [
    "fastdds_x",
    "other_00000000000000d1",
    "other_00000000000000d1_el",
    "fastdds_00000000000000d1_el.txt",
]


@pytest.fixture
def shm(monkeypatch, tmp_path):
    """/dev/shm with two dead segments, one whose owner lives, two ports and files of others."""
    monkeypatch.setattr(fast_dds, "FOLDER", tmp_path)
    monkeypatch.setattr(fast_dds, "_YOUNG", 0.0)
    for name in (DEAD, ALIVE, OLD, "fastdds_port7410", "fastdds_port7411"):
        (tmp_path / name).write_bytes(bytes(8192))
        (tmp_path / f"{name}_el").touch()
    (tmp_path / "fastdds_port7411_sl").touch()
    (tmp_path / "sem.fastdds_port7410_mutex").touch()
    for name in FOREIGN:
        (tmp_path / name).touch()
    with (tmp_path / f"{ALIVE}_el").open() as lock, (tmp_path / "fastdds_port7411_sl").open() as shared:
        fcntl.flock(lock, fcntl.LOCK_EX)
        fcntl.flock(shared, fcntl.LOCK_SH)
        yield tmp_path


def names(folder):
    return {path.name for path in folder.iterdir()} - set(FOREIGN)


STAYS = {ALIVE, f"{ALIVE}_el", "fastdds_port7411", "fastdds_port7411_el", "fastdds_port7411_sl"}


def test_only_what_nobody_holds_is_an_orphan(shm):
    found = fast_dds.orphans()
    assert [orphan.path.name for orphan in found] == [DEAD, "fastdds_port7410", OLD]
    assert all(orphan.size >= 8192 for orphan in found)


def test_a_start_removes_dead_segments_and_leaves_ports(shm):
    assert fast_dds.clear_segments() == ""
    ports = {"fastdds_port7410", "fastdds_port7410_el", "sem.fastdds_port7410_mutex"}
    assert names(shm) == STAYS | ports
    assert all((shm / name).exists() for name in FOREIGN)


def test_the_doctor_removes_ports_too(shm):
    result = run("doctor", "--clean")
    assert result.exit_code == 0 and result.output.startswith("removed 3 of 3 orphans")
    assert names(shm) == STAYS


def test_a_port_that_a_dead_writer_has_left_is_an_orphan_unless_somebody_maps_it(shm):
    for name in ("fastdds_port7412", "fastdds_port7413"):
        (shm / name).write_bytes(bytes(8192))
    with (shm / "fastdds_port7413").open("r+b") as file, mmap.mmap(file.fileno(), 0):
        found = [orphan.path.name for orphan in fast_dds.orphans()]
    assert "fastdds_port7412" in found and "fastdds_port7413" not in found


def test_what_has_just_been_made_may_not_be_locked_yet(shm, monkeypatch):
    monkeypatch.setattr(fast_dds, "_YOUNG", 60.0)
    assert fast_dds.orphans() == []


def test_a_link_in_place_of_a_lock_is_not_followed(shm, tmp_path_factory):
    kept = tmp_path_factory.mktemp("kept") / "kept"
    kept.touch()
    (shm / f"{DEAD}_el").unlink()
    (shm / f"{DEAD}_el").symlink_to(kept)
    assert DEAD not in [orphan.path.name for orphan in fast_dds.orphans()]


@pytest.mark.skipif(os.geteuid() != 0, reason="root may become somebody else")
def test_segments_of_another_user_are_named_with_the_command(shm):
    for folder in shm.parents:  # down to which nobody else may come by default
        if folder.stat().st_mode & 0o777 == 0o700:
            folder.chmod(0o755)
    shm.chmod(0o1777)
    os.seteuid(65534)
    try:
        told = fast_dds.clear_segments()
    finally:
        os.seteuid(0)
    assert told.startswith("2 segments (0 MiB) of dead processes of other users") and "--clean" in told
    assert DEAD in names(shm)


def test_a_process_gives_back_what_it_holds_itself(shm):
    with (shm / f"{DEAD}_el").open():
        fast_dds.remove_own_segments()
    assert DEAD not in names(shm) and OLD in names(shm)


def test_the_doctor_fits_a_screen_and_says_what_to_mend(shm, monkeypatch):
    for variable in ("FASTDDS_DEFAULT_PROFILES_FILE", "FASTRTPS_DEFAULT_PROFILES_FILE"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("RMW_IMPLEMENTATION", "rmw_cyclonedds_cpp")
    lines = run("doctor").output.splitlines()
    assert len(lines) <= 24 and max(map(len, lines)) <= 320
    for word in (
        "Python",
        "torch",
        "GPU",
        "ROS",
        "middleware",
        "DDS profile",
        "orphans",
        "weights",
        "To fix:",
    ):
        assert any(line.startswith(word) for line in lines), word
    assert "  autogaze doctor --clean" in lines
    assert any("Apache-2.0" in line for line in lines) and any("non-commercial" in line for line in lines)
    assert any("export FASTDDS_DEFAULT_PROFILES_FILE=" in line for line in lines)
    assert "doctor" in cli.commands
