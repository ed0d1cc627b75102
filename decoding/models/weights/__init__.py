"""Reads weights as they lie on the disk: one file for each format."""
