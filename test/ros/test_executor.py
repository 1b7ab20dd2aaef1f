import gc
import subprocess
import sys

import pytest
from rclpy.parameter import Parameter
from rclpy.time import Time

from autogaze_ros.ros.executor import is_own
from autogaze_ros.ros.models import loading
from autogaze_ros.ros.qos import described


def fault_of(act):
    with pytest.raises(Exception) as caught:
        act()
    return caught.value


def test_faults_that_rclpy_raises_are_told_from_bugs_of_the_package():
    assert not is_own(fault_of(lambda: Time(seconds=-5)))
    assert not is_own(fault_of(lambda: Parameter("name", 77, None)))
    assert is_own(fault_of(lambda: described(None)))


def test_the_collector_waits_while_something_is_loaded():
    with pytest.raises(RuntimeError), loading(torch=False):
        assert not gc.isenabled()
        raise RuntimeError
    assert gc.isenabled() and gc.get_freeze_count()
    gc.unfreeze()


def test_the_order_of_collection_leaves_no_traceback():
    """In a cycle the guard condition of signals may be collected before its executor."""
    code = """
import rclpy
from autogaze_ros.ros.executor import Executor
rclpy.init()
executor = Executor(print)
executor._sigint_gc.destroy()
del executor
rclpy.shutdown()
"""
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (ended.returncode, ended.stderr) == (0, "")
