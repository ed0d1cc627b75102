"""Holds the drafters: each proposes tokens that the target then verifies. Imports nothing by itself."""
