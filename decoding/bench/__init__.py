"""`tabcast bench`: quality, speed and losslessness, side by side.

Baselines get their best settings, so nothing is said here of how OpenMP's threads wait: on a machine that does nothing
else they are quickest when they spin, which is their default.
"""
