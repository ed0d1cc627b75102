"""Decides which drafter is asked and how long a draft is, from measured costs and gains."""
