"""Answers one request in the engine: sessions, the completion itself, and its text."""
