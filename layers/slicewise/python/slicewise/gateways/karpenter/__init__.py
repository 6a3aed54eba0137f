"""What a Karpenter that we install takes of AWS beside EKS."""
