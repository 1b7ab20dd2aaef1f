import resource
import tempfile
from pathlib import Path

import pytest

_CACHES = ("autogaze_bag_", "torchinductor_")  # of the last compressed recording, and torch's own
_ROOM = 6 << 30  # bytes of addresses beyond those that the process has, which ends what allocates without end


@pytest.fixture(autouse=True)
def nothing_is_written(tmp_path_factory, monkeypatch):
    """Run in an empty folder, with another for temporary files; both are as empty afterwards."""
    here, temporary = tmp_path_factory.mktemp("here"), tmp_path_factory.mktemp("temporary")
    monkeypatch.chdir(here)
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    yield
    left = [path.name for path in temporary.iterdir() if not path.name.startswith(_CACHES)]
    assert [*here.iterdir(), *left] == []


@pytest.fixture(autouse=True)
def bounded_memory():
    limits = resource.getrlimit(resource.RLIMIT_AS)
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + _ROOM, limits[1]))
    yield
    resource.setrlimit(resource.RLIMIT_AS, limits)
