"""What participants write that nobody invited: it is told short, once, and in signs that do nothing."""

from diagnostic_msgs.msg import DiagnosticArray
from ros_node import picture
from sensor_msgs.msg import Image

from autogaze_ros.msg import GazeMask


def test_thirty_encodings_of_a_megabyte_are_one_line(world):
    running = world.run("node.gaze_node", {"selector": "uniform", "policy": "every"})
    reports = world.collect(DiagnosticArray, "/diagnostics")
    gazes = world.collect(GazeMask, "/autogaze/front/gaze")
    publisher = world.node.create_publisher(Image, "/image", 40)
    world.wait_for_links()
    for number in range(30):
        message = picture()
        message.encoding = f"\x1b[2J{number:04}" + "E" * 1_000_000
        publisher.publish(message)
    publisher.publish(picture())
    world.wait_for(lambda: gazes, "gaze")
    heard = len(reports)
    world.wait_for(lambda: len(reports) > heard + 1, "reports")
    lines = [line for line in running.log().splitlines() if "frame ignored" in line]
    assert len(lines) == 1 and len(lines[0]) < 1200 and r"\x1b[2J0000EEE" in lines[0]
    assert "\x1b" not in running.log()
    statuses = [status for report in reports for status in report.status]
    assert max(len(status.message.encode()) for status in statuses) <= 1000
    assert max(len(pair.value.encode()) for status in statuses for pair in status.values) <= 1000
    dropped = [
        pair.value for status in statuses for pair in status.values if pair.key == "frames dropped: unusable"
    ]
    assert dropped[-1] == "30"
