"""What examples/llm-queue is shown with: its scaler, its requests, and a model of its queue."""
