"""Stores things on disk: models of the hub, the user's configuration, learnt drafts, the policy's state."""
