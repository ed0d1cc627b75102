"""Tabcast's front end: a language server that answers inline completions and never imports torch."""
