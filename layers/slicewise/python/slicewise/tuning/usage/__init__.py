"""What was measured of workloads and GPUs, and what of it is saved from one reconcile for the next. Pure."""
