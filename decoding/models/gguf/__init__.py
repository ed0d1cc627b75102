"""GGUF files, the form in which llama.cpp and its kin keep models: what they say, and what their weights stand for."""
