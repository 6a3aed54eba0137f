"""Measured packing: what pods request of a GPU, and where they would be placed. Pure."""
