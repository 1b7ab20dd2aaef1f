"""The node: subscribes to cameras, publishes gazes, masks, overlays and diagnostics."""

from __future__ import annotations

import signal
import sys
from typing import TYPE_CHECKING, Any

import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from rcl_interfaces.msg import SetParametersResult
from rclpy.exceptions import ParameterException
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.impl.implementation_singleton import rclpy_implementation as _rclpy
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from rclpy.qos import DurabilityPolicy, QoSProfile
from std_msgs.msg import Header

from autogaze_ros.msg import GazeInfo
from autogaze_ros.node.background import Background
from autogaze_ros.node.camera import STEADY, Camera
from autogaze_ros.node.declare import check_parameter, declare, declare_camera
from autogaze_ros.node.frame_buffer import FrameBuffer
from autogaze_ros.node.messages import gaze_info
from autogaze_ros.node.parameters import CAMERA_PARAMETERS, CAMERAS, PARAMETERS
from autogaze_ros.node.worker import Arrival, Worker
from autogaze_ros.pipeline import Pipeline
from autogaze_ros.selectors import Selector, create_selector
from autogaze_ros.weights import about

if TYPE_CHECKING:
    from autogaze_ros.reconstruction import Reconstructor

_LATCHED = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)


class GazeNode(LifecycleNode):
    """Callbacks only store images; one worker thread turns them into messages.

    Unconfigured it has parameters only; configured it has loaded the selector
    and offers its topics; active it subscribes and gazes.
    """

    def __init__(self) -> None:
        super().__init__("autogaze")
        self._cameras: dict[str, Camera] = {}
        self._pipeline: Pipeline | None = None
        self._reconstructor: Reconstructor | None = None
        self._worker: Worker | None = None
        self._configured = False
        self.add_on_set_parameters_callback(self._check_parameters)
        declare(self, "cameras", CAMERAS)
        for name, parameter in PARAMETERS.items():
            declare(self, name, parameter)
        self.add_post_set_parameters_callback(self._apply_parameters)
        self._info = self.create_publisher(GazeInfo, "~/gaze_info", _LATCHED)
        self._diagnostics = self.create_publisher(DiagnosticArray, "/diagnostics", 10)
        self.create_timer(1.0, self._report, clock=STEADY)

    def value(self, name: str) -> Any:
        """Return a parameter's value."""
        return self.get_parameter(name).value

    def start(self) -> bool:
        """Configure and activate if autostart asks for it; False if that failed."""
        if not self.value("autostart"):
            return True
        success = TransitionCallbackReturn.SUCCESS
        return self.trigger_configure() == success and self.trigger_activate() == success

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Load the selector and offer the topics."""
        names = self.value("cameras")
        try:
            if len(set(names)) != len(names) or not names:
                raise ValueError(f"cameras must be different names, at least one; got {names}")
            selector = create_selector(
                self.value("selector"),
                checkpoint=self.value("checkpoint"),
                chunk_size=self.value("chunk_size"),
                device=self.value("device"),
                positions=self.value("positions"),
            )
            self._reconstructor = self._load_reconstructor()
            for name in names:
                declare_camera(self, name)
                self._cameras[name] = Camera(self, name)
        except Exception as error:  # rclpy would swallow it without a word
            self.get_logger().error(" ".join(str(error).split()) or type(error).__name__)
            self._forget()
            return TransitionCallbackReturn.FAILURE
        self._pipeline = Pipeline(
            selector,
            gazing_ratio=self.value("gazing_ratio"),
            task_loss_requirement=self.value("task_loss_requirement"),
        )
        self._configured = True
        self._introduce(selector)
        return TransitionCallbackReturn.SUCCESS

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Subscribe and gaze."""
        super().on_activate(state)
        capacity = self.value("queue_size") if self.value("policy") == "every" else 1
        buffer: FrameBuffer[Arrival] = FrameBuffer(self._cameras, capacity)
        assert self._pipeline is not None
        background = Background(self._reconstructor, self._cameras)
        self._worker = Worker(self._pipeline, self._cameras, buffer, background)
        self._worker.start()
        for camera in self._cameras.values():
            camera.subscribe(buffer)
        return TransitionCallbackReturn.SUCCESS

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Stop gazing; what still waits is not processed."""
        self._stop()
        return super().on_deactivate(state)

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Let go of selector and topics."""
        self._forget()
        return TransitionCallbackReturn.SUCCESS

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        """As deactivate and cleanup."""
        self._stop()
        return self.on_cleanup(state)

    def close(self) -> None:
        """Stop the worker, in whatever state the node is."""
        self._stop()
        self.destroy_node()

    def _forget(self) -> None:
        for camera in self._cameras.values():
            camera.destroy()
        self._cameras, self._pipeline, self._reconstructor, self._configured = {}, None, None, False

    def _stop(self) -> None:
        for camera in self._cameras.values():
            camera.unsubscribe()
        if self._worker is not None:
            self._worker.stop()
            self._worker = None

    def _load_reconstructor(self) -> Reconstructor | None:
        checkpoint = self.value("reconstruction")
        if not checkpoint:
            return None
        from autogaze_ros.reconstruction import Reconstructor

        found = Reconstructor(checkpoint, chunk_size=self.value("chunk_size"), device=self.value("device"))
        most = found.stream_bytes / 2**20
        origin = about(found.checkpoint, found.license)
        self.get_logger().info(f"reconstruction by {origin}; at most {most:.0f} MiB a camera")
        return found

    def _introduce(self, selector: Selector) -> None:
        info = selector.info
        header = Header(stamp=self.get_clock().now().to_msg())
        self._info.publish(gaze_info(info, header, selector.chunk_size, list(self._cameras)))
        origin = f", {about(info.checkpoint, info.license)}" if info.checkpoint else ""
        self.get_logger().info(f"selector {info.selector} on {info.device}{origin}")

    def _check_parameters(self, parameters: list[Any]) -> SetParametersResult:
        for parameter in parameters:
            known = PARAMETERS.get(parameter.name)
            try:
                check_parameter(parameter.name, parameter.value)
            except ValueError as error:
                return SetParametersResult(successful=False, reason=str(error))
            structural = known is not None and not known.live
            structural |= parameter.name.rpartition(".")[2] in (*CAMERA_PARAMETERS, "cameras")
            if structural and self._configured and self.has_parameter(parameter.name):
                reason = f"{parameter.name} cannot change while the node is configured; clean it up first"
                return SetParametersResult(successful=False, reason=reason)
        return SetParametersResult(successful=True)

    def _apply_parameters(self, parameters: list[Any]) -> None:
        if self._pipeline is not None:
            self._pipeline.set_budget(self.value("gazing_ratio"), self.value("task_loss_requirement"))

    def _report(self) -> None:
        report = DiagnosticArray(header=Header(stamp=self.get_clock().now().to_msg()))
        report.status = [camera.status() for camera in self._cameras.values()]
        self._diagnostics.publish(report)


def main(args: list[str] | None = None) -> int:
    """Run the node until it is interrupted; returns the exit status."""
    node = None
    try:
        rclpy.init(args=args)
        node = GazeNode()
        if not node.start():
            return 1 if node.context.ok() else 0  # 0: interrupted while loading
        executor = SingleThreadedExecutor()
        executor.add_node(node)
        executor.spin()
    except (KeyboardInterrupt, ExternalShutdownException):
        pass
    except Exception as error:
        if node is not None and not node.context.ok():  # a signal came in the middle of something
            return 0
        if not isinstance(error, (ParameterException, _rclpy.RCLError)):
            raise
        print(f"autogaze: {' '.join(str(error).split())}", file=sys.stderr)
        return 1
    finally:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # a second one must not cut the clean-up short
        if node is not None:
            node.close()
        rclpy.try_shutdown()
    return 0


if __name__ == "__main__":
    sys.exit(main())
