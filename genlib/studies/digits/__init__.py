"""What studies of digits share."""
