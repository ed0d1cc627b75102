"""Turns model folders into the models that an engine decodes with."""
