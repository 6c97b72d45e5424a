"""The roster, and what depends on it."""
