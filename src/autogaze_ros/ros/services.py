"""The node's services."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml
from std_srvs.srv import Trigger

from autogaze_ros.gaze_json import gaze_json
from autogaze_ros.io.atomic import atomic_folder
from autogaze_ros.io.video_writers import write_picture
from autogaze_ros.pipeline import GazedFrame

if TYPE_CHECKING:
    from autogaze_ros.ros.camera import Camera
    from autogaze_ros.ros.gaze_node import GazeNode


def write_snapshot(
    folder: Path, node: str, newest: Mapping[str, GazedFrame], parameters: Mapping[str, Any]
) -> Path:
    """Write a folder named for the time into `folder`; return its path.

    It holds each camera's newest frame as <camera>.png and its gaze as <camera>.json,
    and parameters.yaml, which the node takes at its start. Raises OSError.
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
    """~/reset and ~/snapshot while the node runs, ~/<camera>/reset while it is configured."""

    def __init__(self, node: GazeNode, folder: Path) -> None:
        self._node, self._folder = node, folder
        self._cameras: Mapping[str, Camera] = {}
        self._offered: list[Any] = []
        self._serve("~/reset", lambda: self._reset(self._cameras))
        self._serve("~/snapshot", self._snapshot)

    def offer(self, cameras: Mapping[str, Camera]) -> None:
        """Serve these cameras from now on."""
        self._cameras = cameras
        self._offered = [self._serve(f"~/{name}/reset", self._resetter(name)) for name in cameras]

    def withdraw(self) -> None:
        """Serve no camera any more."""
        for service in self._offered:
            self._node.destroy_service(service)
        self._cameras, self._offered = {}, []

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
            camera.intake.reset()
        return True, f"the next frame of {', '.join(cameras)} begins a new stream"

    def _snapshot(self) -> Answer:
        newest = {name: camera.newest for name, camera in self._cameras.items()}
        gazed = {name: frame for name, frame in newest.items() if frame is not None}
        if not gazed:
            return False, "no frame has been gazed at yet"
        parameters = {"cameras": list(self._cameras), **self._node.settings}
        for name in self._cameras:
            own = self._node.get_parameters_by_prefix(name)
            parameters |= {f"{name}.{short}": parameter.value for short, parameter in own.items()}
        try:
            return True, str(
                write_snapshot(self._folder, self._node.get_fully_qualified_name(), gazed, parameters)
            )
        except OSError as error:
            return False, f"no snapshot in {self._folder}: {error.strerror or error}"
