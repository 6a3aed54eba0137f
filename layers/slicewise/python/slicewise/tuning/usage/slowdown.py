"""
How much slower a pod runs while its neighbours are busy.

Time-slicing: with others busy for a fraction o of the time, a kernel waits
(1 + o) and pays up to 10.9 % for switching. The switching cost is fitted to
nos' table (YOLOS-small on an A100, saturating pods): seconds an inference at
1 / 3 / 5 / 7 pods .0882 / .293 / .489 / .685. MPS overlaps kernels: each busy
neighbour costs 43.9 % (.0880 / .164 / .241 / .320). MIG isolates: a 1g slice
of an A100 takes 3.88 × a whole one, no matter what runs beside it.
"""

TIME_SLICING_SWITCH = 0.109
MPS_PER_NEIGHBOUR = 0.439
MIG_1G_OF_A100 = 3.88


def time_slicing(others_busy: float) -> float:
    """Slowdown factor, at least 1, while the other pods are busy for `others_busy` GPUs."""
    others = max(0.0, others_busy)
    return (1 + others) * (1 + TIME_SLICING_SWITCH * min(1.0, others))


def mps(others_busy: float) -> float:
    return 1 + MPS_PER_NEIGHBOUR * max(0.0, others_busy)


def queueing(load: float, efficiency: float) -> float:
    """
    Mean slowdown of requests at processor sharing, 1 / (1 − load/efficiency).

    Infinite from load = efficiency on.
    """
    left = efficiency - max(0.0, load)
    return efficiency / left if left > 0 else float("inf")
