"""Evaluation of gazes and reconstructions."""
