"""
Slicewise's whole world on one machine: a real Kubernetes control plane, a real
Karpenter and, under `sandbox.aws`, the AWS that the deployed app talks to.

Everything listens on 127.0.0.1 and needs neither docker nor an account nor a
GPU. `python -m sandbox up` starts it.
"""
