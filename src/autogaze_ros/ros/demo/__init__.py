"""The demonstration, and what stands in for a car: a clip player, a synthetic drive, CARLA's bridge."""
