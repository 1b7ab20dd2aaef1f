"""Profiles of the property tests, and packages of a lab for this process.

By default few examples, always the same ones; `make fuzz` tries many new ones.
"""

import lab_packages
import pytest
from hypothesis import settings

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
