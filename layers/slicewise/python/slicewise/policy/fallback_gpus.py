"""Reads `fallbackGpus` of a pool: models that stand in where EC2 has none of its own when a cluster wakes."""

from __future__ import annotations

from collections.abc import Sequence

from slicewise.hardware import gpus as catalog
from slicewise.hardware.gpus import GpuModel
from slicewise.policy.model import Pool, Sharing
from slicewise.policy.reader import Table


def models(table: Table, sharing: Sharing | None, gpus: tuple[str, ...]) -> tuple[str, ...]:
    if not table.has("fallbackGpus"):
        return ()
    value = table.listed(
        "fallbackGpus", f"write a list of models, such as [l40s]; EC2 sells {', '.join(catalog.names())}"
    )
    if table.has("adopt"):
        table.note("fallbackGpus", value, "remove it: an adopted NodePool is the pool's only one")
        return ()
    known = []
    for index, item in enumerate(value or ()):
        gpu = catalog.find(item) if isinstance(item, str) else None
        if problem := _no_fallback(table, sharing, gpus, gpu) if gpu else catalog.suggestion(str(item)):
            table.note(f"fallbackGpus[{index}]", item, problem)
        elif gpu:
            known.append(gpu.name)
    return tuple(known)


def _no_fallback(table: Table, sharing: Sharing | None, gpus: tuple[str, ...], gpu: GpuModel) -> str | None:
    """Why a model cannot stand in for the pool's own; None where it can."""
    profile, counts = table.take("profile"), table.take("gpuCounts")
    if gpu.name in gpus:
        return "it is in gpus already, and serves there at all times; remove it here"
    if sharing is Sharing.MIG and not gpu.mig:
        return f"{gpu.name} has no MIG; name one of {', '.join(m.name for m in catalog.MODELS if m.mig)}"
    if sharing is Sharing.MIG and isinstance(profile, str) and profile not in gpu.mig:
        return f"{gpu.name} lacks profile {profile}; it has {', '.join(gpu.mig)}"
    if isinstance(counts, list) and counts and not any(count in gpu.counts for count in counts):
        sold = ", ".join(str(count) for count in gpu.counts)
        return f"EC2 sells {gpu.name} only in machines with {sold}; add one of these to gpuCounts"
    return None


def have_mornings(table: Table, pools: Sequence[Pool]) -> None:
    for pool in pools if not table.has("offHours") else ():
        if pool.fallback_gpus:
            table.note(
                f"pools.{pool.name}.fallbackGpus",
                list(pool.fallback_gpus),
                "only clusters that sleep open them, when they wake: write offHours, or name them in gpus",
            )
