"""Spreads the layers of a target over several devices."""
