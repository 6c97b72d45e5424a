"""Whether the stores hold what the catalog says, and what is done if they do not."""
