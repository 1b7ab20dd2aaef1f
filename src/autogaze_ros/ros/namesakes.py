"""Other nodes of this node's name on the graph: ROS lets them be, and calls reach either."""

from __future__ import annotations

from rclpy.clock import Clock, ClockType
from rclpy.node import Node

_PERIOD = 1.0  # seconds between two looks
_STEADY = Clock(clock_type=ClockType.STEADY_TIME)


class Namesakes:
    """Warns once when the node's full name is another's, too.

    text: what there is to tell at present; empty while there is none.
    """

    def __init__(self, node: Node) -> None:
        self.text = ""
        self._node = node
        self._name = (node.get_name(), node.get_namespace())
        self._before, self._told = 1, False
        node.create_timer(_PERIOD, self._look, clock=_STEADY)

    def _look(self) -> None:
        """Count; what two looks see is none that was just ending.

        One that was killed before this node began is not counted: it announces itself no more.
        """
        count = self._node.get_node_names_and_namespaces().count(self._name)
        lasting, self._before = min(count, self._before), count
        self.text = ""
        if lasting > 1:
            name = self._node.get_fully_qualified_name()
            self.text = f"{lasting} nodes are named {name}; rename this one with -r __node:=another"
            if not self._told:
                self._told = True
                self._node.get_logger().warning(self.text)
