"""Parameters and arguments without effect, and nodes of one name."""

import pytest
import rclpy
import yaml
from clips import scene, write_bag, write_video
from rclpy.context import Context
from rclpy.node import Node
from ros_node import NODE, UNIFORM, WARN, Camera, Diagnostics, picture, set_parameters

from autogaze_ros.parameters import RENAMED
from autogaze_ros.ros.checks import warn_of_arguments

pytestmark = pytest.mark.slow


def parameters(**sections):
    return yaml.safe_dump({name: {"ros__parameters": given} for name, given in sections.items()})


def test_unknown_parameters_are_named_with_the_nearest(world, tmp_path):
    given = {"gaze_ratio": 0.5, "back": {"image_topic": "/back"}, "xyz": 1}
    (tmp_path / "own.yaml").write_text(parameters(autogaze=given))
    more = {"front.image_topik": "/x", "qos_overrides./image.subscription.depth": 7, "use_sim_time": False}
    node = world.run(NODE, {**UNIFORM, **more}, "--params-file", str(tmp_path / "own.yaml"))
    told = (
        "unknown parameters, which have no effect: back.image_topic (nearest: front.image_topic;"
        " cameras: front), front.image_topik (nearest: front.image_topic),"
        " gaze_ratio (nearest: gazing_ratio), xyz\n"
    )
    world.wait_for(lambda: told in node.log(), told)
    camera = Camera(world)
    world.wait_for_links()
    camera.gaze_at(picture())
    assert node.log().count("unknown parameters") == 1 and "has nothing" not in node.log()
    refused = set_parameters(world, gaze_ratio=0.5)
    assert not refused.successful and "gaze_ratio (nearest: gazing_ratio)" in refused.reason


@pytest.mark.parametrize(
    "arguments, message",
    [
        (
            ["--params-file", "own.yaml"],
            "parameter file own.yaml has nothing for /autogaze; it is for gaze_node",
        ),
        (["--params-file", "empty.yaml"], "empty.yaml has nothing for /autogaze; it is for nobody"),
        (["-p", "gaze_node:selector:=random"], "has nothing for /autogaze; it is for gaze_node"),
        (["--", "selector:=random"], "arguments selector:=random set no parameter; those stand behind"),
    ],
    ids=str,
)
def test_what_is_for_another_node_is_named(world, tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own.yaml").write_text(parameters(gaze_node={"selector": "random"}))
    (tmp_path / "empty.yaml").write_text("")
    node = world.run(NODE, UNIFORM, *arguments)
    world.wait_for(lambda: "selector uniform" in node.log(), "the node")
    assert message in node.log()


@pytest.mark.parametrize(
    "section",
    ["/**", "**", "/*", "*", "autogaze", "/autogaze", "/**/autogaze", "**/autogaze", "/*/autogaze",
     "ns/autogaze", "/ns/autogaze", "/**/other", "other", "/ns/*", "/ns/**"],
)  # fmt: skip
@pytest.mark.parametrize("namespace", ["/", "/ns", "/far/ns"])
def test_a_section_is_for_a_node_where_rcl_says_so(domain, tmp_path, capfd, section, namespace):
    path = tmp_path / "own.yaml"
    path.write_text(parameters(**{section: {"a": 1}}))
    arguments = ["--ros-args", "--params-file", str(path), "-r", f"__ns:={namespace}"]
    context = Context()
    rclpy.init(args=arguments, context=context, domain_id=domain)
    node = Node("autogaze", context=context, automatically_declare_parameters_from_overrides=True)
    capfd.readouterr()
    warn_of_arguments(node, arguments)
    said = "has nothing for" in "".join(capfd.readouterr())
    assert said != node.has_parameter("a")
    node.destroy_node()
    rclpy.shutdown(context=context)


def test_a_file_that_was_a_pipe_is_not_read_again(world, pipe, capfd):
    warn_of_arguments(world.node, ["--ros-args", "--params-file", str(pipe)])
    assert "has nothing" not in "".join(capfd.readouterr())


@pytest.mark.parametrize(
    "module, given, message",
    [
        ("ros.demo.clip_player", {"clip": "clip.mp4", "loops": True}, "loops (nearest: loop)"),
        ("ros.demo.carla_stand_in", {"frames": 1, "sead": 2}, "sead (nearest: seed)"),
        # The gaze node's parameters may stand in the same file.
        (
            "ros.replay",
            {"bag": "bag", "out": "out", "rates": 1.0, **UNIFORM},
            "rates (nearest: rate)",
        ),
    ],
)
def test_players_tell_it_too(world, tmp_path, monkeypatch, module, given, message):
    monkeypatch.chdir(tmp_path)
    write_video(tmp_path / "clip.mp4", scene(2))
    write_bag(tmp_path / "bag", "mcap", {"/image": scene(2)})
    player = world.run(module, given, "--", "stray")
    told = f"unknown parameters, which have no effect: {message}\n"
    world.wait_for(lambda: told in player.log(), told)
    assert "arguments stray set no parameter;" in player.log()


def test_nodes_of_one_name_are_told_by_each_once(world):
    diagnostics = Diagnostics(world)
    told = "2 nodes are named /autogaze; rename this one with -r __node:=another"
    nodes = [world.run(NODE, UNIFORM) for _ in range(2)]
    for node in nodes:
        world.wait_for(lambda node=node: told in node.log(), told)
    world.wait_for(lambda: diagnostics.said("autogaze", WARN, f"active; {told}"), "WARN in diagnostics")
    assert nodes[0].interrupt() == 0
    quiet = len(diagnostics.of("autogaze"))
    world.wait_for(
        lambda: any(told not in status.message for status in diagnostics.of("autogaze")[quiet:]),
        "the end of it",
    )
    assert [node.log().count(told) for node in nodes] == [1, 1]


def test_nodes_of_one_name_in_two_namespaces_are_none(world):
    diagnostics = Diagnostics(world)
    nodes = [world.run(NODE, UNIFORM, "-r", f"__ns:={namespace}") for namespace in ("/a", "/b")]
    world.wait_for(lambda: len(diagnostics.of("autogaze")) > 8, "reports of both")
    assert not any("nodes are named" in node.log() for node in nodes)
    assert not diagnostics.said("autogaze", WARN, "nodes are named")


@pytest.mark.parametrize("old, new", RENAMED.items())
def test_former_names_of_parameters_end_the_start_in_one_line(world, old, new):
    node = world.run(NODE, {**UNIFORM, old: "every"})
    assert node.wait() == 1
    assert node.log().splitlines() == [f"autogaze: parameter {old} has been renamed: use {new}"]


def test_former_names_of_parameters_are_refused_live(world):
    node = world.run(NODE, UNIFORM)
    result = set_parameters(world, policy="every")
    assert not result.successful and "policy (renamed: use queue_policy)" in result.reason
    assert node.interrupt() == 0
