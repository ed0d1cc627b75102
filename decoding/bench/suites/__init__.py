"""Holds the suites of `tabcast bench`, each in a module of its own name."""
