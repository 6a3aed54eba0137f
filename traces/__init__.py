"""What GPUs and pods were measured to do in public: read by the bench, and replayed in the sandbox."""
