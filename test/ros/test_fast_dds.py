"""The variable in which each ROS distribution's Fast DDS looks for its profile."""

import sys

import pytest

from autogaze_ros.installation import share_folder
from autogaze_ros.ros.fast_dds import profile_variables

OLD, NEW = "FASTRTPS_DEFAULT_PROFILES_FILE", "FASTDDS_DEFAULT_PROFILES_FILE"


@pytest.mark.parametrize(
    "distribution, names",
    [
        ("humble", {OLD}), ("iron", {OLD}), ("jazzy", {OLD}), ("kilted", {NEW}), ("rolling", {NEW}),
        ("a later one", {OLD, NEW}),
    ],
)  # fmt: skip
def test_each_distribution_gets_the_variable_that_it_reads(distribution, names):
    ours = str(share_folder() / "config" / "fastdds_shm.xml")
    assert profile_variables({"ROS_DISTRO": distribution}) == dict.fromkeys(names, ours)


@pytest.mark.parametrize(
    "packages, names",
    [(["fastrtps"], {OLD}), (["fastdds"], {NEW}), ([], {OLD, NEW}), (["fastrtps", "fastdds"], {OLD, NEW})],
)
def test_where_none_is_named_the_installed_fast_dds_decides(monkeypatch, tmp_path, packages, names):
    for package in packages:
        (tmp_path / "share" / package).mkdir(parents=True)
    monkeypatch.setattr(sys, "prefix", str(tmp_path))
    assert profile_variables({}).keys() == profile_variables({"ROS_DISTRO": ""}).keys() == names


@pytest.mark.parametrize(
    "distribution, own, names",
    [
        ("jazzy", OLD, set()), ("jazzy", NEW, {OLD}),  # which Jazzy does not read
        ("kilted", NEW, set()), ("kilted", OLD, set()),  # which Kilted reads, and warns of
        ("a later one", OLD, set()), ("a later one", NEW, set()),
    ],
)  # fmt: skip
def test_a_profile_of_the_users_own_wins_where_it_is_read(distribution, own, names):
    assert profile_variables({"ROS_DISTRO": distribution, own: "/my/profile.xml"}).keys() == names
