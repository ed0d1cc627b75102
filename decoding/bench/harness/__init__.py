"""Holds the tools of the suites: live servers, recorded sessions, prompts, baselines."""
