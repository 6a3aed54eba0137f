"""CloudTrail's events."""
