"""Runs any causal language model of the transformers library."""
