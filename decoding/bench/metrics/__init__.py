"""Computes metrics: quality, likelihood, memory and bandwidth."""
