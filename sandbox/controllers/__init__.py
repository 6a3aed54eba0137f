"""Other projects' real controllers beside a control plane: `catalog` has them, `process` runs them."""
