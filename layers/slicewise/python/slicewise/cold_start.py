"""
For a handler to import before anything else: collect garbage seldom.

A cold start makes a hundred thousand objects that stay (modules, classes, botocore's models of services), and
Python's default looks through them again after every few hundred. `python -m bench coldstart` shows the
difference; `python -m bench pass`, that memory stays within its bound.
"""

import gc

gc.set_threshold(50_000, 20, 20)
