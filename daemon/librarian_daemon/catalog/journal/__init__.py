"""The record of all journals, and which part of it counts."""
