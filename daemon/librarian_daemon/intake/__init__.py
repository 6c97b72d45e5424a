"""Intake: takes files from a drop directory into a store, durably and without loss (docs/architecture.md)."""
