"""Holds the suites of `tabcast bench`, each a module of its own name."""
