"""The demonstration, and what stands in for a car: a clip player and a rendered scene."""
