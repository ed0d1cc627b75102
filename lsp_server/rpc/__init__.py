"""Speaks JSON-RPC with editors: frames, the protocol, and how clients differ."""
