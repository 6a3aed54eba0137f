"""
What holds for every test.

Examples that hypothesis makes are the same in each run, and none is judged by how long it took: what passes
here passes on a busy machine, too. `pytest --hypothesis-profile=default` looks for new ones.
"""

from __future__ import annotations

from hypothesis import HealthCheck, settings

settings.register_profile(
    "steady", derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("steady")
