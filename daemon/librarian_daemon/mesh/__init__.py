"""The sites of the mesh: inviting, joining, keys, and presence."""
