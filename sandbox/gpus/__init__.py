"""Stand-ins for what runs on a GPU node."""
