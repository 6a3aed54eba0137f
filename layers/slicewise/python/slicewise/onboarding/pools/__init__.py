"""A policy's NodePools as they should be, those that it no longer has, and those of fallback models. Pure."""
