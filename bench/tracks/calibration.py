"""The calibration track: our slowdown models against nos' published table (YOLOS-small on an A100-80)."""

from slicewise.tuning.usage.slowdown import MIG_1G_OF_A100, mps, time_slicing

PODS = (1, 3, 5, 7)
# Seconds an inference, saturating pods; nebuly-ai/nos, demos/gpu-sharing-comparison.
MEASURED = {
    "time-slicing": (0.0882, 0.293, 0.489, 0.685),
    "mps": (0.0880, 0.164, 0.241, 0.320),
    "mig-1g.10gb": (0.342, 0.341, 0.345, 0.344),
}


def run() -> dict:
    models = {"time-slicing": time_slicing, "mps": mps, "mig-1g.10gb": lambda others: MIG_1G_OF_A100}
    rows = {}
    for name, model in models.items():
        alone = MEASURED["time-slicing"][0] if name.startswith("mig") else MEASURED[name][0]
        errors = [
            100 * (alone * model(n - 1) / measured - 1)
            for n, measured in zip(PODS, MEASURED[name], strict=True)
        ]
        rows[name] = {
            "error_pct_by_pods": dict(zip(map(str, PODS), errors, strict=True)),
            "worst_pct": max(map(abs, errors)),
        }
    return {"policies": rows}
