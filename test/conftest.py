"""Profiles of the property tests: few examples, always the same ones; `make fuzz` tries many new ones."""

from hypothesis import settings

settings.register_profile("test", derandomize=True, deadline=None)
settings.register_profile("fuzz", max_examples=2000, deadline=None, print_blob=True)
settings.load_profile("test")
