"""Bytes that leave their names: aside, away, to trash; renames inside the store, never overwriting."""
