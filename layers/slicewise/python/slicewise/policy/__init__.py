"""What a person asks for: its values, and the strict reader of its text."""
