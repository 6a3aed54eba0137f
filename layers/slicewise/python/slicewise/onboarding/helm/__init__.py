"""helm's values: paths into them, GPU Operator's as we need them, and what stands against that. Pure."""
