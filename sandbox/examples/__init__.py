"""Each example of `examples/`, tried from its own files: `python -m sandbox try NAME`."""
