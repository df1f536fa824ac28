"""Figures: arrays in, matplotlib `Figure` out. No pyplot, no global state."""
