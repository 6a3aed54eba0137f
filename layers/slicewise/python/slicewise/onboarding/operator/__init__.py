"""GPU Operator in a cluster, and whatever else hands out its GPUs. Pure."""
