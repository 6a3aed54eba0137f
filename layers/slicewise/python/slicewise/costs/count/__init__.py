"""From what is observed to a day: lives of machines and pods, and what is counted of them. Pure."""
