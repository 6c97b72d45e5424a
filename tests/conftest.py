"""What all tests share."""

from __future__ import annotations

from hypothesis import settings

# How long an example takes says something of the machine, not of the code; speed is measured by benchmarks.
settings.register_profile("librarian", deadline=None)
settings.load_profile("librarian")
