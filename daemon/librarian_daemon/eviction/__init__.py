"""Giving up own instances: asking other stores, answering them, and the trash (docs/adr/0041)."""
