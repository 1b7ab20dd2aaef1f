"""The networks' mathematics, in plain torch."""
