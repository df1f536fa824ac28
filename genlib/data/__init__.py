"""What studies are trained on."""
