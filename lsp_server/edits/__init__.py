"""Finds the next edit: what should change elsewhere in a document, now that the user changed something in it."""
