"""Bags replayed to the node, and its gazes recorded beside what was replayed."""
