"""What a plan is made of: actions, how a reconcile ends, what it leaves behind, what failed and waits."""
