"""Finds, starts, watches and asks an engine."""
