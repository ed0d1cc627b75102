"""Drafters: each proposes tokens that the target then verifies. Imports nothing by itself."""
