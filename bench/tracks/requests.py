"""
The requests track: pods that ask for thousandths of a GPU (openb), none served below its request.

At equal time shares a pod among n gets 1,000/n thousandths. So a pod that
asks r belongs where n ≤ 1,000/r, and no placement needs fewer GPUs than the
sum of 1/floor(1,000/r).
"""

import csv
import gzip
import math
from collections.abc import Sequence
from functools import cache

from traces.serving import DATA

CLASS_SETS = {
    "static-2": (1, 2),
    "classes-3": (1, 2, 3),
    "classes-4": (1, 2, 3, 4),
    "classes-5": (1, 2, 3, 4, 6),
}


@cache
def sharing_pods() -> tuple[dict[str, str], ...]:
    """Pods that ask for a part of one GPU."""
    with gzip.open(DATA / "openb" / "openb_pod_list_default.csv.gz", "rt", newline="") as rows:
        return tuple(
            row for row in csv.DictReader(rows) if row["num_gpu"] == "1" and int(row["gpu_milli"]) < 1000
        )


def class_of_request(thousandths: int, sizes: Sequence[int]) -> int:
    """The largest class whose equal share is no less than the request."""
    return max((n for n in sizes if n * thousandths <= 1000), default=1)


def gpus(requests: Sequence[int], sizes: Sequence[int]) -> int:
    """One slot a pod, each class a pool of its own: any order fills it the same."""
    members = [class_of_request(r, sizes) for r in requests]
    return sum(math.ceil(members.count(n) / n) for n in sizes)


def run() -> dict:
    asked = [int(pod["gpu_milli"]) for pod in sharing_pods()]
    floor = math.ceil(sum(1 / max(1, 1000 // max(1, r)) for r in asked) - 1e-9)
    rows = {name: {"gpus": gpus(asked, sizes), "short_pods": 0} for name, sizes in CLASS_SETS.items()}
    return {"policies": {"whole": {"gpus": len(asked), "short_pods": 0}, **rows, "floor": {"gpus": floor}}}
