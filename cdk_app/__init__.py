"""What `cdk deploy` puts into an account. Imports nothing of the runtime's code."""
