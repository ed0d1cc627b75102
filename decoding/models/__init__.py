"""Holds models: how they are loaded and how they compute. Imports nothing by itself."""
