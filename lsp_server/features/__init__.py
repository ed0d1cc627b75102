"""Holds the handlers of all messages; the tables in `server` list them. Each handler takes the session first."""
