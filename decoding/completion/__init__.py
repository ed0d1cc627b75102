"""Answers one request: sessions, the completion itself, and its text."""
