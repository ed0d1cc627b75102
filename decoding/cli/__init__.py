"""Implements the subcommands of `tabcast` that need the engine's code."""
