"""Pools that are split into classes: which workload belongs in which, and how it is moved. Pure."""
