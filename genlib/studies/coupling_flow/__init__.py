"""Coupling flows (report D1)."""
