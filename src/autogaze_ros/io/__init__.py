"""Sources of frames and writers of results, one module per format."""
