"""NodePools, overlays and device-plugin keys: made from one N, and read back from live ones. Pure."""
