"""Reads GGUF files, the form in which llama.cpp and its kin keep models: what they describe, and their weights."""
