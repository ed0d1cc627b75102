"""Holds the editor's open documents: texts, positions, views, and how they are typed."""
