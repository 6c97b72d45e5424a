"""Journals: publishing, receiving, heads, letters, and checks of the record."""
