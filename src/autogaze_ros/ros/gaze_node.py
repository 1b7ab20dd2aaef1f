"""The gaze node: subscribes to cameras; publishes gazes, masks, overlays and diagnostics."""

from __future__ import annotations

import gc
import sys
import traceback
from collections import Counter
from contextlib import suppress
from typing import Any

import rclpy
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from rclpy.executors import ExternalShutdownException
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from rclpy.parameter import Parameter
from rclpy.qos import DurabilityPolicy, QoSProfile
from std_msgs.msg import Header

from autogaze_ros.checkpoints.embedded import about
from autogaze_ros.errors import ParameterError
from autogaze_ros.msg import GazeInfo
from autogaze_ros.parameters import Changes
from autogaze_ros.reporting import located, raised_at, shown
from autogaze_ros.ros.camera import Camera
from autogaze_ros.ros.checks import Namesakes, warn_of_arguments, warn_of_parameters
from autogaze_ros.ros.clocks import STEADY
from autogaze_ros.ros.diagnostics import Status, node_values
from autogaze_ros.ros.executor import Executor
from autogaze_ros.ros.inference import InferenceThread
from autogaze_ros.ros.messages import gaze_info
from autogaze_ros.ros.models import BUDGET, SELECTION
from autogaze_ros.ros.publishers import PublisherSet
from autogaze_ros.ros.running import MISTAKES, run_node
from autogaze_ros.ros.services import Services
from autogaze_ros.ros.session import DecidingChanged, Event, FatalError, Loaded, ReloadFailed, Session
from autogaze_ros.ros.settings import LiveSettings, read_camera
from autogaze_ros.ros.statistics import Load
from autogaze_ros.threads import bound_spinning

_LATCHED = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
_SUCCESS = TransitionCallbackReturn.SUCCESS
_PATIENCE = 0.5  # seconds that the inference thread has for its end


class GazeNode(LifecycleNode):
    """Lifecycle node: callbacks only queue images; the inference thread loads models and gazes.

    Unconfigured it only has parameters; configured it offers its topics and loads; active it
    subscribes, and gazes once everything is loaded.

    exit_status: 1 after a fault at start, otherwise 0.
    """

    exit_status = 0

    def __init__(self) -> None:
        super().__init__("autogaze")
        warn_of_arguments(self, sys.argv[1:])
        self._thread = InferenceThread()
        self._session: Session | None = None
        self._starting = False  # True until the first models are loaded after autostart
        self._active = False
        self._fault = ""
        self._refused: Counter[str] = Counter()  # by kind
        self._load = Load()
        self._live = LiveSettings(self, self._follow)
        self._outputs = PublisherSet(self)
        self._info = self.create_publisher(GazeInfo, "~/gaze_info", _LATCHED)
        self._diagnostics = self.create_publisher(DiagnosticArray, "/diagnostics", 10)
        self._status = Status(self.get_name())
        self._namesakes = Namesakes(self)
        self._triggers = Services(self, self._live)
        self.create_timer(1.0, self._report, clock=STEADY)

    def run(self) -> None:
        """Work until shutdown; configure and activate first if autostart asks for it."""
        executor = Executor(self._refuse)
        executor.add_node(self)
        if self._live.now.autostart:
            self._starting = True
            if self.trigger_configure() != _SUCCESS or self.trigger_activate() != _SUCCESS:
                self.exit_status = int(self.context.ok())  # otherwise interrupted meanwhile
                return
        with suppress(ExternalShutdownException):
            executor.spin()

    def close(self) -> bool:
        """End everything in any state; return False if the inference thread is still busy."""
        self._stop()
        ended = self._thread.close(_PATIENCE)
        self.destroy_node()
        gc.unfreeze()  # what loading has set aside holds rclpy's context, and that the shared memory
        return ended

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Offer the topics, and start to load."""
        try:
            names = self.get_parameter("cameras").value
            if len(set(names)) != len(names) or not names:
                raise ParameterError(f"cameras must be different names, at least one; got {names}")
            settings = [read_camera(self, name) for name in names]
            warn_of_parameters(self)
            cameras = {
                camera.name: Camera(self, camera, self._live, self._outputs, self._load)
                for camera in settings
            }
        except Exception as error:
            self._outputs.destroy()
            return self._failed(error)
        self._fault = ""
        self._live.configured = True
        self._session = Session(self, self._live, cameras, self._thread, self._load, self.notify)
        self._triggers.create(cameras)
        return _SUCCESS

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Subscribe, and gaze once everything is loaded."""
        super().on_activate(state)
        assert self._session is not None
        try:
            self._session.begin()
        except Exception as error:
            self._stop()
            super().on_deactivate(state)
            return self._failed(error)
        self._active = True
        return _SUCCESS

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Stop gazing; waiting images are dropped, except those that mode chunk has collected."""
        self._stop()
        return super().on_deactivate(state)

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Release topics and models."""
        self._starting = False
        self._unconfigure()
        return _SUCCESS

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Deactivate and clean up."""
        self._stop()
        self._unconfigure()
        return _SUCCESS

    def notify(self, event: Event) -> None:
        """Have the executor's thread handle an event of a session; any thread may call it."""
        if self.executor is not None:
            self.executor.create_task(self._handle, event)

    def _handle(self, event: Event) -> None:
        if event.session is not self._session:  # of a former configuration
            return
        if isinstance(event, Loaded):
            self._on_loaded(event)
        elif isinstance(event, DecidingChanged):
            self._publish_info(event.session)
        elif isinstance(event, ReloadFailed):
            self._revert_parameters(event)
        elif isinstance(event, FatalError):
            self._on_fatal_error(event)

    def _on_loaded(self, event: Loaded) -> None:
        """Log the new models."""
        when = "" if event.session.loading else ", from each camera's next context on"
        event.session.loading = self._starting = False
        self._fault = ""
        info = event.models.pipeline.choice.selector.info
        origin = f", {about(info.checkpoint, info.license)}" if info.checkpoint else ""
        self.get_logger().info(f"selector {info.selector} on {info.device}{origin}{when}")
        if made := event.models.reconstructor:
            most = made.stream_bytes / 2**20
            origin = about(made.checkpoint, made.license)
            self.get_logger().info(f"reconstruction by {origin}; at most {most:.0f} MiB a camera")

    def _publish_info(self, session: Session) -> None:
        """Publish selector and mode of the newest gazes; not of those that contexts still wait for."""
        if session.models is None or session.deciding is None:
            return
        header = Header(stamp=self.get_clock().now().to_msg())
        message = gaze_info(*session.deciding, session.models.reconstructor, header, list(session.cameras))
        self._info.publish(message)

    def _revert_parameters(self, event: ReloadFailed) -> None:
        """Revert parameters after a failed reload, unless they changed again meanwhile."""
        requested, kept, now = vars(event.requested), vars(event.kept), vars(self._live.now)
        self._fault = (
            f"{event.reason}; selector {kept['selector']} goes on with chunk_size {kept['chunk_size']}"
        )
        self.get_logger().error(self._fault)
        if all(now[name] == requested[name] for name in SELECTION):
            old = {name: kept[name] for name in SELECTION + BUDGET if now[name] == requested[name]}
            self.set_parameters_atomically([Parameter(name, value=value) for name, value in old.items()])

    def _on_fatal_error(self, event: FatalError) -> None:
        """Return to unconfigured after a permanent fault; end the process if it occurs at start."""
        self._fault = event.reason
        self.get_logger().error(event.reason)
        at_start = self._starting
        if self._active:
            self.trigger_deactivate()
        self.trigger_cleanup()
        if at_start:
            self.exit_status = 1
            rclpy.try_shutdown(context=self.context)

    def _refuse(self, fault: Exception) -> None:
        """Report an exception of rclpy about somebody's message or request; each kind is logged once."""
        kind = f"{type(fault).__name__} at {raised_at(fault)}"
        self._refused[kind] += 1
        if self._refused[kind] == 1:
            self.get_logger().error(
                f"a message or request was refused: {located(fault)}; /diagnostics counts others of this kind"
            )

    def _follow(self, changes: Changes) -> None:
        if self._session is not None:
            self._session.follow(changes)

    def _stop(self) -> None:
        self._active = False
        if self._session is not None:
            self._session.end()

    def _unconfigure(self) -> None:
        self._triggers.destroy()
        if self._session is not None:
            self._session.unload()
            self._session = None
        self._live.configured = False
        self._outputs.destroy()

    def _failed(self, error: Exception) -> TransitionCallbackReturn:
        """Log why a transition fails, which rclpy would not; a fault of the program with its traceback."""
        if isinstance(error, MISTAKES):
            self.get_logger().error(shown(error))
        else:
            self.get_logger().error("".join(traceback.format_exception(error)))
        return TransitionCallbackReturn.FAILURE

    def _state(self) -> str:
        if self._session is None:
            return "unconfigured"
        if self._session.loading:
            return "loading"
        return "active" if self._active else "inactive"

    def _node_values(self, state: str) -> dict[str, Any]:
        deciding = self._session.deciding if self._session is not None else None
        values = node_values(self._live.now, state, self._load, deciding)
        return values | {"messages and requests refused": self._refused.total()}

    def _report(self) -> None:
        state = self._state()
        level, message = DiagnosticStatus.OK, state
        if self._namesakes.text:
            level, message = DiagnosticStatus.WARN, f"{state}; {self._namesakes.text}"
        if self._fault:
            level, message = DiagnosticStatus.ERROR, self._fault
        report = DiagnosticArray(header=Header(stamp=self.get_clock().now().to_msg()))
        report.status = [self._status.fill((level, message), self._node_values(state))]
        if self._session is not None:
            report.status += [camera.status(state) for camera in self._session.cameras.values()]
        self._diagnostics.publish(report)


def main(args: list[str] | None = None) -> int:
    """Run the node until it is interrupted; return the exit status."""
    bound_spinning()
    return run_node(GazeNode, "autogaze", args)


if __name__ == "__main__":
    sys.exit(main())
