"""The `slicewise` command: the same package that runs in the functions, on a person's machine."""
