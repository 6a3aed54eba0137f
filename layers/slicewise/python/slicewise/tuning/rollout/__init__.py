"""A change of N in a live NodePool, stage by stage. Pure."""
