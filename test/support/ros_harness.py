"""Real processes and real DDS for the node's tests."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from itertools import count
from pathlib import Path
from typing import Any

import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from rclpy.context import Context
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from sensor_msgs.msg import CompressedImage, Image

from autogaze_ros.ros import fast_dds
from autogaze_ros.ros.fast_dds import VARIABLES, Orphan

PATIENCE = 60.0  # seconds until a test gives up on an event
GRACE = 30.0  # seconds for a process that was asked to end
DOMAINS = 101  # from 1 on; ports of higher ones are among those that Linux hands out
worlds = count(os.getpid() * 13)


def claim_domain() -> tuple[int, socket.socket]:
    """Return a ROS domain that no other test of this machine uses, and the socket that holds it."""
    first = next(worlds)
    for domain in (1 + number % DOMAINS for number in range(first, first + DOMAINS)):
        claim = socket.socket(socket.AF_UNIX)
        try:
            claim.bind(f"\0autogaze_ros_domain_{domain}")  # no file: the name goes with its owner
            return domain, claim
        except OSError:
            claim.close()
    raise RuntimeError(f"all {DOMAINS} ROS domains are in use")


class World:
    """A ROS domain of its own, with a node of the test's in it and processes beside it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.domain, self._claim = claim_domain()
        self.environment = {**os.environ, "ROS_DOMAIN_ID": str(self.domain)}
        self.context = Context()
        rclpy.init(context=self.context, domain_id=self.domain)
        self.node = Node("tester", context=self.context)
        self._executor = SingleThreadedExecutor(context=self.context)
        self._executor.add_node(self.node)
        self.processes: list[Process] = []

    def run(
        self, module: str, parameters: Mapping[str, Any] | None = None, *arguments: str, profile: bool = True
    ) -> Process:
        """Start one of our nodes."""
        pairs = [part for name, value in (parameters or {}).items() for part in ("-p", f"{name}:={value}")]
        command = [sys.executable, "-m", f"autogaze_ros.{module}", "--ros-args", *pairs, *arguments]
        return self.start(command, profile=profile)

    def start(self, command: list[str], *, profile: bool = True) -> Process:
        environment = {
            name: value for name, value in self.environment.items() if profile or name not in VARIABLES
        }
        process = Process(command, self.folder / f"process{len(self.processes)}.log", environment)
        self.processes.append(process)
        return process

    def collect(self, kind: type, topic: str, qos: Any = 50) -> list[Any]:
        """Subscribe; the list fills while the world waits for something."""
        messages: list[Any] = []
        self.node.create_subscription(kind, topic, messages.append, qos)
        return messages

    def wait_for(self, done: Callable[[], Any], what: str, patience: float = PATIENCE) -> None:
        """Handle events until done."""
        deadline = time.monotonic() + patience
        while not done():
            self._executor.spin_once(timeout_sec=0.05)
            if time.monotonic() > deadline:
                logs = "\n".join(process.log() for process in self.processes)
                raise AssertionError(f"no {what} within {patience:.0f} s; the processes said:\n{logs}")

    def wait_for_links(self, *cameras: str, publishers: int = 1) -> None:
        """Wait until the node sees its images' publishers and a subscriber to its gazes, and they see it.

        Each side discovers the other on its own: a message sent before both have may be lost.
        """
        reports = self.collect(DiagnosticArray, "/diagnostics")

        def linked(camera: str) -> bool:
            name = f"autogaze: {camera}"
            values = [{v.key: v.value for v in s.values} for r in reports for s in r.status if s.name == name]
            seen = [(int(v["image publishers"]), int(v["gaze subscribers"])) for v in values if v]
            return any(images >= publishers and gazes for images, gazes in seen)

        self.wait_for(lambda: all(map(linked, cameras or ("front",))), "links of the node")
        own = [mine for mine in self.node.publishers if mine.msg_type in (Image, CompressedImage)]
        self.wait_for(lambda: all(mine.get_subscription_count() for mine in own), "links to the node")

    def call(self, kind: type, service: str, request: Any) -> Any:
        """Call a service and return its answer."""
        client = self.node.create_client(kind, service)
        self.wait_for(client.service_is_ready, f"service {service}")
        future = client.call_async(request)
        self.wait_for(future.done, f"answer of {service}")
        self.node.destroy_client(client)
        return future.result()

    def close(self) -> None:
        for process in self.processes:
            process.ask_to_end()
        for process in self.processes:
            process.kill()
        self._executor.shutdown()
        self.node.destroy_node()
        rclpy.shutdown(context=self.context)
        for process in self.processes:
            process.clear_memory()
        self._clear_ports()
        self._claim.close()

    def _clear_ports(self) -> None:
        """Remove the domain's ports, which Fast DDS leaves for the next participant there."""
        first = 7400 + 250 * self.domain
        ports = [Path(f"/dev/shm/fastdds_port{number}") for number in range(first, first + 250)]
        fast_dds.remove_orphans(Orphan(path, 0) for path in ports if path.exists())


class Process:
    """A child whose output goes to a file."""

    def __init__(self, command: list[str], log: Path, environment: Mapping[str, str]) -> None:
        self._log = log
        self._abandoned: set[Path] = set()
        with log.open("w") as file:
            self._popen = subprocess.Popen(
                # Where the tests are killed it ends, too: it would go on in a domain that others claim.
                ["setpriv", "--pdeathsig", "INT", *command],
                stdout=file,
                stderr=subprocess.STDOUT,
                env={**environment, "PYTHONFAULTHANDLER": "1"},
                start_new_session=True,  # so that its own children end with it
            )

    @property
    def pid(self) -> int:
        return self._popen.pid

    def log(self) -> str:
        return self._log.read_text()

    def ended(self) -> bool:
        return self._popen.poll() is not None

    def shared(self) -> set[Path]:
        """Return the segments and ports that it holds in /dev/shm."""
        held = set()
        for descriptor in Path("/proc", str(self.pid), "fd").iterdir():
            with contextlib.suppress(FileNotFoundError):  # closed meanwhile
                lock = os.readlink(descriptor)
                if re.fullmatch(r"/dev/shm/(fastdds|fastrtps)_\w+_el", lock):
                    held.add(Path(lock.removesuffix("_el")))
        return held

    def wait(self, patience: float | None = None) -> int:
        """Return the exit status; pytest shows what the process said if the test fails.

        What hangs shows where: it and its children write the stacks of all their threads.
        """
        patience = PATIENCE if patience is None else patience
        try:
            status = self._popen.wait(patience)
        except subprocess.TimeoutExpired:
            self._abort()
            raise AssertionError(f"still running after {patience:.0f} s:\n{self.log()}") from None
        print(f"process ended with {status}:\n{self.log()}")
        return status

    def _abort(self) -> None:
        """Abort it and its children, and wait for what they have to say; what goes on then is killed."""
        deadline = time.monotonic() + GRACE
        os.killpg(self.pid, signal.SIGABRT)
        with contextlib.suppress(ProcessLookupError):
            while time.monotonic() < deadline:
                self._popen.poll()  # what has ended is there until somebody asks
                os.killpg(self.pid, 0)
                time.sleep(0.05)
        self._kill_all()

    def _kill_all(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        self._popen.wait()

    def send(self, number: int) -> None:
        """Send a signal and go on."""
        if number == signal.SIGKILL:
            self._abandoned = self.shared()
        self._popen.send_signal(number)

    def interrupt(self, number: int = signal.SIGINT) -> int:
        """Ctrl-C, or another signal; returns the exit status."""
        self.send(number)
        return self.wait()

    def ask_to_end(self) -> None:
        """Interrupt it: who is killed leaves shared memory behind, hundreds of megabytes a test run."""
        if not self.ended():
            self._popen.send_signal(signal.SIGINT)

    def kill(self) -> None:
        """Kill what has not ended a while after it was asked to; how it hangs, or died, is shown."""
        try:
            if (status := self._popen.wait(GRACE)) < 0:
                print(f"ended by signal {-status}, which leaves shared memory behind:\n{self.log()}")
        except subprocess.TimeoutExpired:
            self._abort()
            print(f"still running {GRACE:.0f} s after SIGINT:\n{self.log()}")
        self._kill_all()

    def clear_memory(self) -> None:
        """Remove what it had no chance to remove itself when a test has killed it."""
        fast_dds.remove_orphans(Orphan(path, 0) for path in self._abandoned)
