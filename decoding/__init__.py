"""Tabcast's engine: lossless speculative decoding of code models.

Imports nothing, so that `decoding.protocol` stays cheap.
"""
