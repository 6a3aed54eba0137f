"""GPU Operator in a cluster, and what else allocates its GPUs. Pure."""
