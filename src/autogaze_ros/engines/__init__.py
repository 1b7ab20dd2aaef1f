"""Fast execution of the networks: caches, batches, streams."""
