"""Reads a repository's own files: what a commit is about to change. It never runs git, and must not know documents."""
