"""When a cluster sleeps: weekly hours, dates, holidays, and the clock on the wall. Pure."""
