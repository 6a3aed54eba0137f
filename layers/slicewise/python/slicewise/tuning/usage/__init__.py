"""What was measured of workloads and GPUs, and what of it is kept from one pass to the next. Pure."""
