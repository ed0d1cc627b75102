"""Holds what suites measure with: live servers, recorded sessions, prompts, baselines."""
