"""Frozen values that everything speaks of. They import nothing but `kube`."""
