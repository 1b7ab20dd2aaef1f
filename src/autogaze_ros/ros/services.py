"""Services of the node: reset and snapshot."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import yaml
from rclpy.node import Node
from std_srvs.srv import Trigger

from autogaze_ros.gaze_json import gaze_json
from autogaze_ros.io.atomic import atomic_folder
from autogaze_ros.io.video_writers import write_picture
from autogaze_ros.pipeline import GazedFrame
from autogaze_ros.ros.camera import Camera
from autogaze_ros.ros.settings import LiveSettings


def write_snapshot(
    folder: Path, node: str, newest: Mapping[str, GazedFrame], parameters: Mapping[str, Any]
) -> Path:
    """Write a folder named by the time into `folder`; return its path.

    It contains each camera's newest frame as <camera>.png, its gaze as <camera>.json, and
    parameters.yaml, a parameter file for the node. Raises OSError.
    """
    target = folder / datetime.now().strftime("%Y-%m-%d_%H-%M-%S.%f")
    with atomic_folder(target) as aside:
        aside.mkdir()
        for camera, gazed in newest.items():
            write_picture(aside / f"{camera}.png", gazed.frame.image)
            (aside / f"{camera}.json").write_text(json.dumps(gaze_json(gazed)) + "\n")
        settings = {node: {"ros__parameters": dict(parameters)}}
        (aside / "parameters.yaml").write_text(yaml.safe_dump(settings, sort_keys=False))
    return target


Answer = tuple[bool, str]  # success, message


class Services:
    """~/reset and ~/snapshot while the node runs, ~/<camera>/reset while it is configured.

    Snapshots go to the folder that the parameter snapshot_folder names at start.
    """

    def __init__(self, node: Node, live: LiveSettings) -> None:
        self._node, self._live = node, live
        self._folder = Path(live.now.snapshot_folder).absolute()
        self._cameras: Mapping[str, Camera] = {}
        self._resets: list[Any] = []
        self._serve("~/reset", lambda: self._reset(self._cameras))
        self._serve("~/snapshot", self._snapshot)

    def create(self, cameras: Mapping[str, Camera]) -> None:
        """Create the services of these cameras."""
        self._cameras = cameras
        self._resets = [self._serve(f"~/{name}/reset", self._resetter(name)) for name in cameras]

    def destroy(self) -> None:
        """Destroy the services of all cameras."""
        for service in self._resets:
            self._node.destroy_service(service)
        self._cameras, self._resets = {}, []

    def _serve(self, name: str, act: Callable[[], Answer]) -> Any:
        def answer(request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
            response.success, response.message = act()
            return response

        return self._node.create_service(Trigger, name, answer)

    def _resetter(self, name: str) -> Callable[[], Answer]:
        return lambda: self._reset({name: self._cameras[name]})

    @staticmethod
    def _reset(cameras: Mapping[str, Camera]) -> Answer:
        if not cameras:
            return False, "no camera is configured"
        for camera in cameras.values():
            camera.subscription.reset()
        return True, f"the next frame of {', '.join(cameras)} begins a new stream"

    def _snapshot(self) -> Answer:
        newest = {name: camera.newest for name, camera in self._cameras.items()}
        gazed = {name: frame for name, frame in newest.items() if frame is not None}
        if not gazed:
            return False, "no frame has been gazed at yet"
        parameters = {"cameras": list(self._cameras), **vars(self._live.now)}
        for name in self._cameras:
            own = self._node.get_parameters_by_prefix(name)
            parameters |= {f"{name}.{short}": parameter.value for short, parameter in own.items()}
        try:
            return True, str(
                write_snapshot(self._folder, self._node.get_fully_qualified_name(), gazed, parameters)
            )
        except OSError as error:
            return False, f"no snapshot in {self._folder}: {error.strerror or error}"
