"""The dollars track: the same pods on the cheapest EC2 type that holds a GPU's pods: GPU, vCPU and RAM."""

from collections.abc import Sequence

from bench.tracks.requests import CLASS_SETS, class_of_request, sharing_pods
from traces.serving import instance_prices


def price_list() -> list[tuple[float, float, float, str]]:
    """(dollars an hour, vCPU, RAM MiB, type) of priced types with one whole GPU, cheapest first."""
    return sorted(
        (float(row["usd_per_hour_us_east_1"]), _vcpu(row), _mib(row), row["instance_type"])
        for row in instance_prices()
        if row["physical_gpus"] == "1.0" and row["usd_per_hour_us_east_1"] and row["allocatable_cpu"]
    )


def cheapest(vcpu: float, ram_mib: float) -> float | None:
    """Dollars an hour of the cheapest fitting type; None if none is large enough."""
    return next((usd for usd, cpu, ram, _ in price_list() if cpu >= vcpu and ram >= ram_mib), None)


def fleet(sizes: Sequence[int]) -> dict:
    """Pods in the trace's order fill nodes of their class; a node too large for any type is split."""
    prices, total, nodes, unpriced = price_list(), 0.0, 0, 0
    for size in sizes:
        pods = [
            (int(p["cpu_milli"]) / 1000, float(p["memory_mib"]))
            for p in sharing_pods()
            if class_of_request(int(p["gpu_milli"]), sizes) == size
        ]
        groups = [pods[i : i + size] for i in range(0, len(pods), size)]
        while groups:
            group = groups.pop()
            cpu, ram = sum(c for c, _ in group), sum(r for _, r in group)
            usd = next((u for u, has_cpu, has_ram, _ in prices if has_cpu >= cpu and has_ram >= ram), None)
            if usd is None and len(group) > 1:
                groups += [group[: len(group) // 2], group[len(group) // 2 :]]
                continue
            nodes += 1
            unpriced += usd is None
            total += usd or 0.0
    return {"gpus": nodes, "usd_per_hour": total, "usd_a_week": total * 168, "unpriced_nodes": unpriced}


def run() -> dict:
    return {"policies": {"whole": fleet((1,)), **{name: fleet(sizes) for name, sizes in CLASS_SETS.items()}}}


def _vcpu(row: dict[str, str]) -> float:
    return float(row["allocatable_cpu"].removesuffix("m")) / 1000


def _mib(row: dict[str, str]) -> float:
    return float(row["allocatable_mem"].removesuffix("Mi"))
