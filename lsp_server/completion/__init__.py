"""Answers one request: from the cursor to the items that are shown."""
