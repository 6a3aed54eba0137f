"""Stacks: the types that moto lacks, its faults put right, and two ways to deploy."""
