"""Bytes by rsync."""
