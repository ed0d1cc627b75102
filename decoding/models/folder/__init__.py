"""Reads the small files of a model folder, config.json and tokenizer.json, and holds them to what they may say."""
