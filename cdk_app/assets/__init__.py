"""What is uploaded beside the template, and how it is built."""
