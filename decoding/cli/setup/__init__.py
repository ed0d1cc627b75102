"""Implements `tabcast setup`: from this machine to a model that completes code, by one command."""
