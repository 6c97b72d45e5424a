"""Incidents: what is wrong, and notifying people of it."""
