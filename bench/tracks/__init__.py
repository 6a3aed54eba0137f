"""One module a track of `python -m bench`."""
