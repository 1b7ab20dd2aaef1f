"""Signals and cores for the tests, profiles of the property tests, and packages of a lab for this process.

Property tests try few examples, always the same ones; `make fuzz` tries many new ones.
"""

import os
import signal

import lab_packages
import pytest
from hypothesis import settings

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # Tests in the background ignore it, and all that they start would, too.
    signal.signal(signal.SIGINT, signal.default_int_handler)

if workers := int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", 0)):
    # torch here and in the processes under test: more threads than cores wait for each other.
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // workers)))

settings.register_profile("test", derandomize=True, deadline=None)
settings.register_profile("fuzz", max_examples=2000, deadline=None, print_blob=True)
settings.load_profile("test")


@pytest.fixture
def install_lab(tmp_path, monkeypatch):
    """A function that installs a package of a lab for this process; returns the folder on Python's path."""
    site = tmp_path / "site"
    site.mkdir()
    monkeypatch.syspath_prepend(site)
    lab_packages.forget()
    yield lambda entry_points="", **options: lab_packages.install(site, entry_points, **options)
    lab_packages.forget()
