"""The synthetic drive."""
