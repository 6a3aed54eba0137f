"""Frozen values that all rooms share. They import nothing but `kube`."""
