from types import SimpleNamespace

from sensor_msgs.msg import Image

from autogaze_ros.ros.types import COMPRESSED, TypeWatch


def test_strangers_whose_names_change_for_ever_take_no_more_memory():
    offers, lines = [], []
    node = SimpleNamespace(get_publishers_info_by_topic=lambda topic: offers)
    watch = TypeWatch(node, "/image", Image, lines.append, lambda found: "")
    for number in range(1000):
        offers[:] = [
            SimpleNamespace(node_namespace="/", node_name=f"stranger{number}", topic_type=COMPRESSED)
        ]
        for _ in range(3):
            watch.look()
    assert len(lines) == 1000  # each of them once
    assert len(watch._told) <= 100
