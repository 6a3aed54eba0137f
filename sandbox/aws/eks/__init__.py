"""EKS: clusters, access entries, add-ons, and the authenticator."""
