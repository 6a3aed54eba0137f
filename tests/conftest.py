"""
What holds for every test.

With several workers, tests that share a control plane or a deployed Slicewise stay on one of them, in the
order of their files: some judge what the others did there. Otherwise, tests of a file stay together.

Examples that hypothesis makes are the same in each run, and none is judged by how long it took: what passes
here passes on a busy machine, too. `pytest --hypothesis-profile=default` looks for new ones.
"""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, settings

settings.register_profile(
    "steady", derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("steady")

# Fixtures of the whole session which are too dear to be made by each worker.
SHARED = ("system", "retuning_plane", "control_plane", "template", "full")


@pytest.hookimpl(tryfirst=True)  # xdist reads the groups in the same hook
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if not item.get_closest_marker("exhaustive"):
            shared = [name for name in SHARED if name in item.fixturenames]
            item.add_marker(pytest.mark.xdist_group(shared[0] if shared else item.path.name))
