"""helm's values: paths into them, GPU Operator's as we need them, and what conflicts with that. Pure."""
