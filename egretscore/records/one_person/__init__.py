"""Asking about one person, in a millisecond or a few."""
