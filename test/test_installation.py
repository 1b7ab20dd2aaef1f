import pytest

from autogaze_ros import installation
from autogaze_ros.installation import message_folder


def test_messages_are_found_in_the_installation_and_in_the_source_tree(tmp_path, monkeypatch):
    monkeypatch.setattr(installation, "share_folder", lambda: tmp_path)
    assert message_folder().samefile(installation.__file__.replace("src/autogaze_ros/installation.py", "msg"))
    (tmp_path / "msg").mkdir()
    (tmp_path / "msg" / "GazeMask.msg").touch()
    assert message_folder() == tmp_path / "msg"
    (tmp_path / "msg" / "GazeMask.msg").unlink()
    monkeypatch.setattr(installation, "__file__", str(tmp_path / "lib/python/autogaze_ros/installation.py"))
    with pytest.raises(FileNotFoundError, match="not installed"):
        message_folder()
