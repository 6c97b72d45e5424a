"""Routes about what stands in the stores: the stores, reading it again, giving it up."""
