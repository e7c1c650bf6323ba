"""The declarative configuration: strict loading into a frozen model."""
