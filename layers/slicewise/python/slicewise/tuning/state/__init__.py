"""What a tuning pass observes, as values."""
