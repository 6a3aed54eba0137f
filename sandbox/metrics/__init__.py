"""Metrics of GPUs: a real Prometheus, and what Container Insights would say."""
