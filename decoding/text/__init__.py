"""Turns requests into tokens and tokens into text. Nothing here needs torch."""
