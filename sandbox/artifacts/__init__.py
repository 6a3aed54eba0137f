"""What a cluster here is made of: which versions, and where their parts come from."""
