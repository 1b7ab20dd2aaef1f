"""Training of checkpoints: a reconstructor, labels by a greedy teacher, and AutoGaze on these."""
