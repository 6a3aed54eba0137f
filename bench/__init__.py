"""What slicing saves, measured on public traces and on your own: `python -m bench --help`."""
