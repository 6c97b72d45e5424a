"""The stores of this site, as it uses them: local tables."""
