"""Measures a loaded model: row invariance, step times, agreement."""
