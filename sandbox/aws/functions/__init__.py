"""Lambda: functions, their environments, and the queues that call them."""
