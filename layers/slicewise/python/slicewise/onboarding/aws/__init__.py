"""What a Karpenter that we install has in AWS beside EKS: made, compared and removed."""
