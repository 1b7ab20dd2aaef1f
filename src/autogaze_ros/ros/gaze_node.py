"""The node: subscribes to cameras, publishes gazes, masks, overlays and diagnostics."""

from __future__ import annotations

import gc
import os
import signal
import sys
import traceback
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import rclpy
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from rcl_interfaces.msg import SetParametersResult
from rclpy.event_handler import PublisherEventCallbacks
from rclpy.exceptions import ParameterException
from rclpy.impl.implementation_singleton import rclpy_implementation as _rclpy
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from rclpy.parameter import Parameter
from rclpy.qos import DurabilityPolicy, QoSProfile
from std_msgs.msg import Header

from autogaze_ros.checkpoints.embedded import about
from autogaze_ros.errors import AutoGazeError
from autogaze_ros.msg import GazeInfo
from autogaze_ros.parameters import CAMERAS, PARAMETERS
from autogaze_ros.reporting import shown
from autogaze_ros.ros import shared_memory
from autogaze_ros.ros.camera import Camera
from autogaze_ros.ros.checks import Namesakes, refuse_unknown, warn_of_arguments, warn_of_parameters
from autogaze_ros.ros.diagnostics import Status, node_values
from autogaze_ros.ros.executor import Executor, end_with_the_terminal
from autogaze_ros.ros.inference import InferenceThread, located, raised_at
from autogaze_ros.ros.messages import gaze_info
from autogaze_ros.ros.models import BUDGET, SELECTION, Engines, Settings
from autogaze_ros.ros.qos import described, list_endpoints, policy_name, publisher_overrides
from autogaze_ros.ros.services import Services
from autogaze_ros.ros.session import Session
from autogaze_ros.ros.settings import check_change, declare, declare_camera
from autogaze_ros.ros.statistics import Load
from autogaze_ros.ros.subscription import STEADY
from autogaze_ros.threads import bound_spinning

_LATCHED = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
_SUCCESS = TransitionCallbackReturn.SUCCESS
_MOMENT = 0.5  # seconds from the discovery of a topic's other side to its name
_PATIENCE = 0.5  # seconds that the inference thread has for its end


class GazeNode(LifecycleNode):
    """Callbacks only store images; the inference thread loads, and turns them into messages.

    Unconfigured it has parameters only; configured it offers its topics and loads;
    active it subscribes, and gazes once everything is loaded. settings: the
    parameters of the table at one moment; another object when one changes.
    """

    def __init__(self) -> None:
        super().__init__("autogaze")
        self.inference = InferenceThread()
        self.exit_status = 0
        self._session: Session | None = None
        self._offered: list[Any] = []  # publishers while configured
        self._starting = False  # whether the first loading is to come
        self._active = False
        self._fault = ""
        self._refused: Counter[str] = Counter()  # by kind
        self._load = Load()
        refuse_unknown(self)
        self.add_on_set_parameters_callback(self._check_parameters)
        declare(self, "cameras", CAMERAS)
        for name, parameter in PARAMETERS.items():
            declare(self, name, parameter)
        self.settings: Settings = self._read_settings()
        self.add_post_set_parameters_callback(self._apply_parameters)
        self._info = self.create_publisher(GazeInfo, "~/gaze_info", _LATCHED)
        self._diagnostics = self.create_publisher(DiagnosticArray, "/diagnostics", 10)
        self._status = Status(self.get_name())
        self._namesakes = Namesakes(self)
        self._door = Services(self, Path(self.settings["snapshot_folder"]).absolute())
        self.create_timer(1.0, self._report, clock=STEADY)

    def value(self, name: str) -> Any:
        """Return a parameter's value."""
        return self.get_parameter(name).value

    def start(self) -> bool:
        """Configure and activate if autostart asks for it; False if that failed."""
        if not self.value("autostart"):
            return True
        self._starting = True
        return self.trigger_configure() == _SUCCESS and self.trigger_activate() == _SUCCESS

    def offer(self, kind: type, topic: str, depth: int = 10) -> Any:
        """Create a publisher until cleanup; it reports subscribers which cannot hear it."""

        def report(event: Any) -> None:
            name, offered = publisher.topic_name, described(publisher.qos_profile)

            def tell() -> None:
                asking = list_endpoints(self.get_subscriptions_info_by_topic(name))
                text = f"incompatible {policy_name(event)}: this node offers {offered}; subscribers: {asking}"
                self.get_logger().warning(shown(f"{name}: {text}"))

            self.call_when_known(tell)

        publisher: Any = self.create_lifecycle_publisher(
            kind,
            topic,
            depth,
            event_callbacks=PublisherEventCallbacks(incompatible_qos=report),
            qos_overriding_options=publisher_overrides(),
        )
        self._offered.append(publisher)
        return publisher

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Offer the topics, and begin to load."""
        cameras: dict[str, Camera] = {}
        try:
            names = self.value("cameras")
            if len(set(names)) != len(names) or not names:
                raise ValueError(f"cameras must be different names, at least one; got {names}")
            for name in names:
                declare_camera(self, name)
            warn_of_parameters(self)
            for name in names:
                cameras[name] = Camera(self, name, self._load)
        except Exception as error:
            self._withdraw()
            return self._failed(error)
        self._fault = ""
        self._session = Session(self, cameras, self._load)
        self._door.offer(cameras)
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
        """Stop gazing; what still waits is not processed, but for chunks that were begun."""
        self._stop()
        return super().on_deactivate(state)

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Let go of topics and engines."""
        self._starting = False
        self._forget()
        return _SUCCESS

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        """As deactivate and cleanup."""
        self._stop()
        self._forget()
        return _SUCCESS

    def close(self) -> bool:
        """End everything, in whatever state the node is; whether the inference thread ended too."""
        self._stop()
        ended = self.inference.close(_PATIENCE)
        self.destroy_node()
        return ended

    def call_soon(self, callback: Callable[..., None], *arguments: Any) -> None:
        """Have the executor's thread call something; any thread may ask."""
        if self.executor is not None:
            self.executor.create_task(callback, *arguments)

    def call_when_known(self, tell: Callable[[], None]) -> None:
        """Call something in a moment: who has just been discovered has no name yet."""

        def act() -> None:
            self.destroy_timer(timer)
            tell()

        timer = self.create_timer(_MOMENT, act, clock=STEADY)

    def refuse(self, fault: Exception) -> None:
        """Report what somebody's message or request made rclpy raise; each kind is logged once."""
        kind = f"{type(fault).__name__} at {raised_at(fault)}"
        self._refused[kind] += 1
        if self._refused[kind] == 1:
            self.get_logger().error(
                f"a message or request was refused: {located(fault)}; /diagnostics counts others of this kind"
            )

    def introduce(self, session: Session, engines: Engines) -> None:
        """Tell what was loaded."""
        if session is not self._session:
            return
        when = "" if session.loading else ", from each camera's next context on"
        session.loading = self._starting = False
        self._fault = ""
        info = engines.pipeline.choice.selector.info
        origin = f", {about(info.checkpoint, info.license)}" if info.checkpoint else ""
        self.get_logger().info(f"selector {info.selector} on {info.device}{origin}{when}")
        if made := engines.reconstructor:
            most = made.stream_bytes / 2**20
            origin = about(made.checkpoint, made.license)
            self.get_logger().info(f"reconstruction by {origin}; at most {most:.0f} MiB a camera")

    def publish_info(self, session: Session) -> None:
        """Tell what decides from now on; what a camera's context still waits for is no news yet."""
        if session is not self._session or session.engines is None or session.deciding is None:
            return
        header = Header(stamp=self.get_clock().now().to_msg())
        message = gaze_info(*session.deciding, session.engines.reconstructor, header, list(session.cameras))
        self._info.publish(message)

    def take_back(
        self, session: Session, tried: Mapping[str, Any], kept: Mapping[str, Any], reason: str
    ) -> None:
        """Set parameters to what is loaded, since what they asked for cannot be; unless they ask anew."""
        if session is not self._session:
            return
        self._fault = f"{reason}; selector {kept['selector']} goes on with chunk_size {kept['chunk_size']}"
        self.get_logger().error(self._fault)
        if all(self.settings[name] == tried[name] for name in SELECTION):
            old = {name: kept[name] for name in SELECTION + BUDGET if self.settings[name] == tried[name]}
            self.set_parameters_atomically([Parameter(name, value=value) for name, value in old.items()])

    def give_up(self, session: Session, reason: str) -> None:
        """Go back to unconfigured after a fault that will not pass; the end, where it comes at the start."""
        if session is not self._session:
            return
        self._fault = reason
        self.get_logger().error(reason)
        at_start = self._starting
        if self._active:
            self.trigger_deactivate()
        self.trigger_cleanup()
        if at_start:
            self.exit_status = 1
            rclpy.try_shutdown(context=self.context)

    def _stop(self) -> None:
        self._active = False
        if self._session is not None:
            self._session.end()

    def _forget(self) -> None:
        self._door.withdraw()
        if self._session is not None:
            self._session.unload()
            self._session = None
        self._withdraw()

    def _withdraw(self) -> None:
        for publisher in self._offered:
            self.destroy_lifecycle_publisher(publisher)
        self._offered = []

    def _failed(self, error: Exception) -> TransitionCallbackReturn:
        """Log why a transition fails: rclpy would swallow it without a word."""
        self.get_logger().error(shown(error) or type(error).__name__)
        return TransitionCallbackReturn.FAILURE

    def _read_settings(self) -> Settings:
        return {name: parameter.check(name, self.value(name)) for name, parameter in PARAMETERS.items()}

    def _check_parameters(self, parameters: list[Any]) -> SetParametersResult:
        try:
            for parameter in parameters:
                declared, configured = self.has_parameter(parameter.name), self._session is not None
                check_change(parameter.name, parameter.value, declared=declared, configured=configured)
        except (ValueError, AutoGazeError) as error:
            return SetParametersResult(successful=False, reason=shown(error))
        return SetParametersResult(successful=True)

    def _apply_parameters(self, parameters: list[Any]) -> None:
        self.settings = self._read_settings()
        if self._session is not None:
            names = [parameter.name for parameter in parameters if parameter.name in self.settings]
            self._session.follow({name: self.settings[name] for name in names})

    def _node_values(self, state: str) -> dict[str, Any]:
        deciding = self._session.deciding if self._session is not None else None
        values = node_values(self.settings, state, self._load, deciding)
        return values | {"messages and requests refused": self._refused.total()}

    def _report(self) -> None:
        if self._session is None:
            state = "unconfigured"
        elif self._session.loading:
            state = "loading"
        else:
            state = "active" if self._active else "inactive"
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
    """Run the node until it is interrupted; returns the exit status."""
    node, begun, ended, failed = None, False, True, False
    bound_spinning()
    end_with_the_terminal()
    if left := shared_memory.clear():
        print(f"autogaze: {left}", file=sys.stderr)
    try:
        try:
            rclpy.init(args=args)
            begun = True
            node = GazeNode()
            warn_of_arguments(node, sys.argv[1:] if args is None else args)
            executor = Executor(node.refuse)
            executor.add_node(node)
            if node.start():
                executor.spin()
            else:
                failed = node.context.ok()  # else interrupted meanwhile
        except Exception as error:
            failed = not begun or rclpy.ok()  # else a signal came in the middle of something
            if failed and isinstance(error, (ParameterException, _rclpy.RCLError)):
                print(f"autogaze: {shown(error)}", file=sys.stderr)
            elif failed:
                traceback.print_exc()
    except KeyboardInterrupt:  # which may follow upon the error that the same signal has caused
        pass
    finally:
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN)  # a second one must not cut the clean-up short
        if node is not None:
            ended = node.close()
            failed = failed or node.exit_status != 0
        rclpy.try_shutdown()
        if not ended:  # loading cannot be interrupted, and would be waited for
            sys.stdout.flush()
            sys.stderr.flush()
            shared_memory.give_back()
            os._exit(failed)
        gc.unfreeze()  # what loading has set aside holds rclpy's context, and that the shared memory
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
