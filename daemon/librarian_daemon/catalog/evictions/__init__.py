"""Giving up own instances: what the catalog keeps of it, and the facts that the machine decides on."""
