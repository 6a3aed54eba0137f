"""What the command does with a terminal: answers for people and programs, columns, help and completion."""
