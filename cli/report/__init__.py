"""A report of what GPUs cost, for people and programs."""
