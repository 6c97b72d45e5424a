"""The configuration: its types, reading and checking."""
