"""Runs the engine process: HTTP, the compute thread, and the engine's life."""
