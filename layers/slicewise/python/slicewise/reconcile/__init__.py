"""
The one loop: lease, observe, plan, apply, record; how actions are run, and batches of messages answered.
"""
