"""Collects what goes with a request besides the cursor: how much of the file, its name, and pieces of other files."""
