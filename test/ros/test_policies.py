"""The enclaves' policies against what docs/ros_interface.md and sources say of topics and services."""

import re
from fnmatch import fnmatchcase
from pathlib import Path
from xml.etree import ElementTree

import pytest

ROOT = Path(__file__).parents[2]
POLICIES = ROOT / "config" / "policies"


def allowed(name, kind, verb):
    found = ElementTree.parse(POLICIES / f"{name}.xml").findall(f".//{kind}[@{verb}='ALLOW']/{kind[:-1]}")
    return [entry.text.replace("~", f"/{name}") for entry in found]


def covers(patterns, name):
    return any(fnmatchcase(name, pattern) for pattern in patterns)


@pytest.mark.parametrize("name", ["autogaze", "replay", "viewer"])
def test_each_policy_is_one_enclave_of_its_node(name):
    root = ElementTree.parse(POLICIES / f"{name}.xml").getroot()
    assert [enclave.get("path") for enclave in root.iter("enclave")] == [f"/{name}"]
    assert [profile.get("node") for profile in root.iter("profile")] == [name]
    assert not allowed(name, "services", "request")


def test_the_node_may_do_what_its_page_says_and_a_viewer_may_see_it():
    page = (ROOT / "docs" / "ros_interface.md").read_text()
    rows = re.findall(r"^\| `(~?/[^`]+)` \| (\w+)/\w+", page, re.M)
    assert len(rows) > 10
    for name, package in rows:
        kind, verb = ("services", "reply") if package == "std_srvs" else ("topics", "publish")
        full = name.replace("~", "/autogaze").replace("<camera>", "front")
        assert covers(allowed("autogaze", kind, verb), full), full
        assert kind == "services" or covers(allowed("viewer", "topics", "subscribe"), full), full


@pytest.mark.parametrize(
    "topic", ["/image", "/front/image", "/front/image/compressed", "/carla/ego/rgb_front/image"]
)
def test_images_reach_the_node(topic):
    assert covers(allowed("replay", "topics", "publish"), topic)
    assert covers(allowed("autogaze", "topics", "subscribe"), topic)
