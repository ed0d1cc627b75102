"""Reads weights from disk, in one module for each format."""
