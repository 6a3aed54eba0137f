"""What each GPU that EC2 sells can do, and what its machines cost."""
