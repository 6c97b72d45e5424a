"""Intake: from a drop directory into a store, durably and with nothing lost (docs/architecture.md)."""
