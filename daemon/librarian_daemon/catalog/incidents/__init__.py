"""Incidents, and which channels have sent them."""
