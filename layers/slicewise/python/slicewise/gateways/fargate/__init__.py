"""What a Karpenter on Fargate takes of AWS beside EKS."""
