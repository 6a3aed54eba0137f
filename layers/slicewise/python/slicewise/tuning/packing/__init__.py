"""Measured packing: what pods ask of a GPU, and where they would be placed. Pure."""
