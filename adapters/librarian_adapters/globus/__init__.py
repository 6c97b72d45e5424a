"""Bytes by Globus."""
