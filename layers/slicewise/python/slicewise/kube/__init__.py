"""Kubernetes objects as JSON values: references, reading, comparing, patching, quantities. Pure."""
