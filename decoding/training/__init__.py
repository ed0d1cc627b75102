"""Tools that make models: corpus, tokenizer, pretraining, distillation. Nothing of the engine imports them."""
