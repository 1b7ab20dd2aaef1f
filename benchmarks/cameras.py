"""Six live cameras: python benchmarks/cameras.py [--selector NAME] [--dtype D] [--tokens N] [--busy N].

The stand-in for CARLA's bridge plays frames that it rendered beforehand, reliable
bgra8 images of 800x600 at 10 Hz; the node gazes; this process subscribes. Images
are counted at the publisher, in the node (/diagnostics) and, as gazes, here. An
age is the time on this process's clock from an instant's /clock, which the
stand-in publishes before the instant's images, to the gaze's arrival. It is
measured twice: `unloaded` with one instant in two seconds, and at the full rate.
With --busy N the full rate is measured once more, beside N processes that each
want a core, as a planner or RViz does. `cores` are those that each process uses on average.
"""

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections import Counter
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import numpy as np
import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile
from report import machine, publish
from rosgraph_msgs.msg import Clock

from autogaze_ros.installation import share_folder
from autogaze_ros.msg import GazeInfo, GazeMask
from autogaze_ros.ros.fast_dds import profile_variables
from autogaze_ros.tokens import AUTOGAZE_GRID

RATE, ROLE = 10, "ego_vehicle"
PATIENCE = 300.0  # seconds until a process counts as stuck; the stand-in renders meanwhile
SETTLING = 5.0  # seconds to wait for the last counts
LATCHED = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)


class Subscriber(Node):
    """Subscriber to the node: gazes by camera with their ages, and its diagnostics."""

    def __init__(self, cameras):
        super().__init__("subscriber")
        self.infos, self.counts = [], {}
        self.gazes = {camera: [] for camera in cameras}
        self._clock = {}  # by stamp, publication time of its instant
        self.create_subscription(Clock, "/clock", self._tick, 100)
        self.create_subscription(GazeInfo, "/autogaze/gaze_info", self.infos.append, LATCHED)
        self.create_subscription(DiagnosticArray, "/diagnostics", self._report, 10)
        for camera in cameras:
            topic = f"/autogaze/{camera}/gaze"
            self.create_subscription(GazeMask, topic, lambda gaze, of=camera: self._gaze(of, gaze), 100)

    def _tick(self, message):
        self._clock[message.clock.sec, message.clock.nanosec] = time.monotonic()

    def _gaze(self, camera, gaze):
        stamp = gaze.header.stamp
        age = time.monotonic() - self._clock.get((stamp.sec, stamp.nanosec), np.nan)
        self.gazes[camera].append((gaze, age * 1e3))

    def _report(self, message):
        for status in message.status:
            self.counts[status.name.removeprefix("autogaze: ")] = {v.key: v.value for v in status.values}

    def wait_for(self, done, seconds):
        """Handle messages until done, or until a number of seconds has passed; return True if done."""
        deadline = time.monotonic() + seconds
        while not done() and time.monotonic() < deadline:
            rclpy.spin_once(self, timeout_sec=0.1)
        return done()


@contextmanager
def process(module, parameters, log):
    pairs = [part for name, value in parameters.items() for part in ("-p", f"{name}:={json.dumps(value)}")]
    with log.open("w") as file:
        command = [sys.executable, "-m", f"autogaze_ros.{module}", "--ros-args", *pairs]
        child = subprocess.Popen(command, stdout=file, stderr=subprocess.STDOUT)
        try:
            yield child
        finally:
            child.terminate()
            child.wait()


class Cores:
    """Cores that processes use on average, from a first to a last look at them while they run."""

    def __init__(self, **ids):
        self._ids, self._seen = ids, {}

    def look(self):
        for name, pid in self._ids.items():
            with suppress(OSError, IndexError):  # it has ended
                spent = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:13]
                now = time.monotonic(), sum(map(int, spent)) / os.sysconf("SC_CLK_TCK")
                self._seen.setdefault(name, [now, now])[1] = now

    def used(self):
        return {
            name: round((last[1] - first[1]) / max(last[0] - first[0], 1e-3), 2)
            for name, (first, last) in self._seen.items()
        }


@contextmanager
def busy(count):
    """Run a number of processes that compute without pause."""
    with ExitStack() as stack:
        for _ in range(count):
            child = subprocess.Popen([sys.executable, "-c", "while True: pass"])
            stack.callback(child.wait)
            stack.callback(child.terminate)
        yield


def write_rig(path, large):
    """Write a rig of Bench2Drive's six cameras at 800x600, the first large on demand; return their names."""
    rig = json.loads((share_folder() / "config" / "carla_rig.json").read_text())
    vehicle = rig["objects"][0]
    vehicle["sensors"] = [s for s in vehicle["sensors"] if s["type"] == "sensor.camera.rgb"]
    for place, sensor in enumerate(vehicle["sensors"]):
        sensor["image_size_x"], sensor["image_size_y"] = (1600, 900) if large and not place else (800, 600)
    path.write_text(json.dumps(rig))
    return [sensor["id"] for sensor in vehicle["sensors"]]


def measure(options, seconds, **own):
    """Play a number of seconds to a node with the given parameters; return counts, rates and ages."""
    with tempfile.TemporaryDirectory() as folder:
        rig, logs = Path(folder, "rig.json"), [Path(folder, name) for name in ("node.log", "player.log")]
        cameras = write_rig(rig, options.large)
        topics = {f"{camera}.image_topic": f"/carla/{ROLE}/{camera}/image" for camera in cameras}
        node = {"cameras": cameras, **topics, "selector": options.selector, "dtype": options.dtype, **own}
        if options.tokens:
            node |= {
                "gazing_ratio": options.tokens / AUTOGAZE_GRID.num_tokens,
                "task_loss_requirement": -1e3,  # below any loss
            }
        player = {
            "rig": str(rig),
            "frames": seconds * RATE,
            "prerendered": options.prerendered,
            "wait_for": 1,
        }
        subscriber = Subscriber(cameras)
        try:
            with process("ros.gaze_node", node, logs[0]) as gazing:
                ready = subscriber.wait_for(lambda: subscriber.infos, PATIENCE)
                with process("ros.demo.carla_stand_in", player, logs[1]) as playing:
                    subscriber.wait_for(lambda: any(subscriber.gazes.values()), PATIENCE)
                    cores = Cores(node=gazing.pid, player=playing.pid, subscriber=os.getpid())
                    ended = subscriber.wait_for(lambda: cores.look() or playing.poll() is not None, PATIENCE)
                if not (ready and ended):
                    raise SystemExit("\n".join(log.read_text() for log in logs))
                found = re.search(r"published (\d+) frames .*, ([\d.]+) per second", logs[1].read_text())
                published, rate = int(found[1]), float(found[2])
                subscriber.wait_for(lambda: settled(subscriber, cameras, published), SETTLING)
        finally:
            subscriber.destroy_node()
        found = summary(subscriber, cameras, published, published / rate)
        return {"instants_a_second": rate, **found, "cores": cores.used()}


def settled(subscriber, cameras, published):
    """Return True if the node accounts for every image, and every gaze has arrived."""
    causes = ("gazes published", "frames dropped", "frames left out")
    counts = [subscriber.counts.get(camera, {}) for camera in cameras]
    return all(
        sum(int(count.get(cause, 0)) for cause in causes) == published
        and len(subscriber.gazes[camera]) == int(count["gazes published"])
        for camera, count in zip(cameras, counts, strict=True)
    )


def summary(subscriber, cameras, published, seconds):
    """Return the fate of each camera's images by cause, and the milliseconds of all gazes."""
    flows = {}
    for camera in cameras:
        counts, gazes = subscriber.counts[camera], subscriber.gazes[camera]
        flows[camera] = {
            "published": published,
            "received_by_node": int(counts["frames received"]),
            "gazed_by_node": int(counts["gazes published"]),
            "received_by_subscriber": len(gazes),
            "dropped": {
                k.removeprefix("frames dropped: "): int(v) for k, v in counts.items() if "dropped:" in k
            },
            "dropped_since_last": sum(gaze.dropped_since_last for gaze, _ in gazes),
            "gazes_a_second": round(len(gazes) / seconds, 2),
        }
    gazes = [gaze for camera in cameras for gaze, _ in subscriber.gazes[camera]]
    ages = [age for camera in cameras for _, age in subscriber.gazes[camera]]
    batches = Counter(gaze.latency.batch_size for gaze in gazes)
    return {
        "cameras": flows,
        "gazes_a_second": round(len(gazes) / seconds, 1),
        "age_ms": spread(ages),
        "work_ms": spread([gaze.latency.total - gaze.latency.wait for gaze in gazes]),
        "stages_ms": {
            stage: spread([getattr(gaze.latency, stage) for gaze in gazes])["p50"]
            for stage in ("wait", "preprocess", "gaze", "render")
        },
        "gazes_by_batch_size": dict(sorted(batches.items())),
    }


def spread(values):
    names = ("p50", "p95", "p99", "max")
    return {
        n: round(float(v), 1) for n, v in zip(names, np.percentile(values, (50, 95, 99, 100)), strict=True)
    }


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--selector", default="patch_difference")
    parser.add_argument("--dtype", default="auto")
    parser.add_argument("--large", action="store_true", help="the front camera at 1600x900")
    parser.add_argument("--tokens", type=int, help="of each frame, whatever loss is predicted")
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--prerendered", type=int, default=20, help="instants that are played to and fro")
    parser.add_argument("--busy", type=int, default=0, help="also measure beside so many busy processes")
    parser.add_argument("--out", type=Path, help="also write the JSON to this file")
    options = parser.parse_args()
    os.environ.setdefault("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")
    os.environ.setdefault("ROS_DOMAIN_ID", str(1 + os.getpid() % 100))
    os.environ.update(profile_variables())
    rclpy.init()
    results = {
        "unloaded": measure(options, 20, max_rate=0.5),
        "full_rate": measure(options, options.seconds),
    }
    if options.busy:
        with busy(options.busy):
            results["full_rate_busy"] = measure(options, options.seconds)
    rclpy.try_shutdown()
    unloaded, loaded = (results[name]["age_ms"] for name in ("unloaded", "full_rate"))
    results["age_by_unloaded"] = {name: round(loaded[name] / unloaded[name], 2) for name in loaded}
    inputs = {
        "selector": options.selector,
        "dtype": options.dtype,
        "tokens": options.tokens,
        "cameras": 6,
        "rate": RATE,
        "seconds": options.seconds,
        "busy": options.busy,
    }
    inputs |= {"front": "1600x900" if options.large else "800x600", "others": "800x600", "encoding": "bgra8"}
    publish(machine(load_average=os.getloadavg()[0]), inputs, results, options.out)


if __name__ == "__main__":
    main()
