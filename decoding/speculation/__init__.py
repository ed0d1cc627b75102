"""Drafts, verifies, accepts and rolls back. Read `speculate.py` first."""
