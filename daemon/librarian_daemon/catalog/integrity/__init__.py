"""Instances: what stands where, compared, set aside, withdrawn."""
