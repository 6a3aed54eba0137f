"""When Karpenter may take a pool's nodes away, from how long they take to start. Pure."""
