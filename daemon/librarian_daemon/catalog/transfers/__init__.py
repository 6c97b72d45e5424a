"""Transfers and what is to be fetched."""
