"""Bytes by HTTP, pulled and pushed."""
