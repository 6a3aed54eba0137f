"""What a night does not put to sleep: by its nature, by a mark, or since its sleep was refused. Pure."""
