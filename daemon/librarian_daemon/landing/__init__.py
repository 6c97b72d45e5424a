"""Gives verified bytes their names."""
