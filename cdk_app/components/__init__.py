"""One module a capability: keyword-only values in, a few documented attributes out."""
