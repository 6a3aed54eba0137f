"""What a morning does beside restoring fields: in which order, on which GPUs, and what comes last. Pure."""
