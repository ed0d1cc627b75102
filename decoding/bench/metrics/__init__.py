"""Counts: quality, likelihood, memory and bandwidth."""
