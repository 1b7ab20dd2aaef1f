"""How the networks are run fast: caches, batches, streams."""
