"""
What AWS's split cost allocation shows for pods on GPU machines, by the formula of AWS's own page. Pure.

A machine's cost is divided among its GPUs, vCPUs and GB of memory as 9 : 0.9 : 0.1 for one of each. Each of
the three is then split by what pods ask for, and what no pod asked for is added to those that asked, in the
same proportion. So a pod's part of the GPUs is what it asked for of all that was asked for, and a slice
counts as a GPU, whatever N is.

Source: AWS Data Exports user guide, "Example of split cost allocation data for accelerated instances". AWS
does it by instance and hour, knows all pods, and takes the larger of what a pod asked for and used of vCPUs
and memory, where it has that; here it is by kind of machine and day, of pods with GPUs, by what they ask for.
"""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from typing import NamedTuple

from slicewise.costs.day import Machine, Use, Workload
from slicewise.hardware.machine_sizes import vcpus_and_gib

GPU_WEIGHT, CPU_WEIGHT, MEMORY_WEIGHT = Fraction(9), Fraction(9, 10), Fraction(1, 10)


class Weights(NamedTuple):
    """Which parts of a machine's cost are its GPUs', its vCPUs' and its memory's; their sum is 1."""

    gpu: Fraction
    cpu: Fraction
    memory: Fraction


def weights(gpus: int, vcpus: int, gib: int) -> Weights:
    """Of a machine with so many GPUs, vCPUs and GiB."""
    parts = (GPU_WEIGHT * gpus, CPU_WEIGHT * vcpus, MEMORY_WEIGHT * gib)
    return Weights(*(part / sum(parts) for part in parts))


def split(machine: Machine, usd: Fraction, asked: Mapping[Workload, Use]) -> dict[Workload | None, Fraction]:
    """
    Dollars by workload; what no pod asked for any of is None's. Their sum is `usd`.

    Raises:
        LookupError: Vcpus and memory of such a machine are not known.
    """
    size = vcpus_and_gib(machine.instance_type)
    if size is None:
        raise LookupError(machine.instance_type)
    found: dict[Workload | None, Fraction] = {}
    columns = [(one.held, one.cpu, one.ram) for one in asked.values()]
    for resource, weight in enumerate(weights(machine.gpus, *size)):
        total = sum(column[resource] for column in columns)
        owners = zip(asked, columns, strict=True) if total else [(None, (1, 1, 1))]
        for workload, column in owners:
            part = usd * weight * Fraction(column[resource], total or 1)
            found[workload] = found.get(workload, Fraction(0)) + part
    return found
