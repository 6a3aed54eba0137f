"""What is reported of a night: what was left running, what does not run yet, what was saved. Pure."""
