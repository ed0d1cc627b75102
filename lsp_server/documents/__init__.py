"""Holds what the editor has open: texts, positions, views, and how they are typed."""
