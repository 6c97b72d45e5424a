"""Routes about what a person has this site declare to the mesh: subscriptions, and rules of the mesh."""
