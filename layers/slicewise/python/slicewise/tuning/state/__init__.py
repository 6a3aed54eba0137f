"""What a reconcile of tuning observes, as values."""
