"""Computes the Llama family with plain torch, on any device."""
