"""The node stays as large as it is, however long it runs."""

from pathlib import Path

from ros_node import NODE, Camera, Diagnostics, picture

FRAMES, WARM_UP = 20_000, 4_000
AT_ONCE = 5  # as many as wait in DDS
GROWTH = 1024  # bytes a frame


def test_memory_threads_and_files_of_the_node_do_not_grow(world):
    diagnostics, names = Diagnostics(world), ("left", "right")
    parameters = {
        "selector": "uniform",
        "gazing_ratio": 0.1,
        "policy": "every",
        "cameras": f"[{', '.join(names)}]",
    }
    node = world.run(NODE, parameters)
    cameras = [Camera(world, name, f"/{name}/image") for name in names]
    world.wait_for_links(*names)
    images = [picture(n / 10, width=32, height=24) for n in range(1, 1 + FRAMES // len(names))]

    def gaze_until(count):
        """Show frames until there were so many; return bytes, threads and files of the process then."""
        while (shown := cameras[0].shown) * len(cameras) < count:
            for camera in cameras:
                camera.show(*images[shown : shown + AT_ONCE])
            world.wait_for(lambda: all(len(c.gazes) == c.shown for c in cameras), "gazes")
        process = Path("/proc", str(node.pid))
        status = dict(line.split(":", 1) for line in (process / "status").read_text().splitlines())
        files = len(list((process / "fd").iterdir()))
        return int(status["VmRSS"].split()[0]) * 1024, int(status["Threads"]), files

    memory, *handles = gaze_until(WARM_UP)
    later, *handles_later = gaze_until(FRAMES)
    print(f"{(later - memory) / (FRAMES - WARM_UP):.0f} bytes a frame")
    assert handles_later == handles
    assert later - memory < GROWTH * (FRAMES - WARM_UP)
    for name in names:
        world.wait_for(
            lambda name=name: (
                diagnostics.newest(f"autogaze: {name}")["gazes published"] == str(FRAMES // len(names))
            ),
            "report",
        )
        assert diagnostics.newest(f"autogaze: {name}")["frames dropped"] == "0"
