"""What studies of a density in the plane share."""
