"""What GPUs cost, who held them and what of it was used: kept by the hour, and reckoned from that. Pure."""
