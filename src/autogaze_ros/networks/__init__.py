"""What the networks compute, in plain torch."""
