"""Stores datastores of code: tokens with a suffix array over them, on disk. Imports nothing by itself."""
