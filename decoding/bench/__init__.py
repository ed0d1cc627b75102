"""Implements `tabcast bench`: quality, speed and losslessness, side by side.

Baselines get their best settings, so nothing is set here for how OpenMP's threads wait: on a machine that does nothing
else they are quickest when they spin, which is their default.
"""
