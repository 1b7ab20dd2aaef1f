"""Weights and their configuration, from a folder, the hub or this package."""
