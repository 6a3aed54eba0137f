"""GPUs on Amazon EKS, sliced by what they really do. `__version__` is the release, as in pyproject.toml."""

__version__ = "0.1.0"
