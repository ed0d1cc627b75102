"""Implements `tabcast bench gpu-check`: tests whether a GPU computes correctly; a check that fails stops no other."""
