"""How many pods may share a GPU, from what was measured; and when N may change. Pure."""
