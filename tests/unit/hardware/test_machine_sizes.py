"""vCPUs and memory of machines, against the table that Karpenter publishes."""

from __future__ import annotations

from slicewise.hardware.machine_sizes import vcpus_and_gib

from tests.support.nonempty import nonempty
from traces.serving import instance_prices


def test_sizes_are_those_of_the_published_table():
    rows = [row for row in instance_prices() if row["vcpu"] and int(row["gpu_count"] or 0)]
    known = {row["instance_type"]: row for row in rows if vcpus_and_gib(row["instance_type"])}

    assert {name: vcpus_and_gib(name) for name in known} == {
        name: (int(row["vcpu"]), int(row["ram_mib"]) // 1024) for name, row in nonempty(list(known.items()))
    }
    assert len(known) > 50


def test_a_machine_that_is_not_in_the_table_has_no_size():
    assert [vcpus_and_gib(name) for name in ("g99.xlarge", "g6.huge", "g6", "", "g6.2.xlarge")] == [None] * 5
