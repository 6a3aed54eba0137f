"""What a plan is made of: actions, how a pass ends, what it leaves behind, what failed and waits."""
