"""
What each GPU that EC2 sells can do: Karpenter's name, memory, how many a machine has, how MIG cuts it.

Sources:
    names, memory, counts   aws/karpenter-provider-aws v1.14.1, pkg/providers/instancetype (instance table of
                            2026-07-11): `karpenter.k8s.aws/instance-gpu-{name,memory,count}`.
    MIG profiles            NVIDIA/gpu-operator v26.7.0, assets/state-mig-manager/0400_configmap.yaml, and the
                            most instances of each profile that fit on one GPU.

    video engines           NVENCs and NVDECs of a GPU: gmasse/gpu-specs 097f0fb, a table of datasheets by
                            others than NVIDIA; a10g has the A10's chip, h200 the H100's. Of the others it is
                            not known here. NVIDIA's "Video Encode and Decode GPU Support Matrix" has all of
                            them; it was not read for this table.

Fractions of a GPU (g6f, gr6f) are left out: EC2 reports 0 GPUs for them, so no device plugin can share them.
Also left out: machines without a GPU entry in Karpenter's table (g2, g3, p2, the small p3).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

# NVENC, and NVDEC.
VIDEO_KINDS = ENCODERS, DECODERS = "encoders", "decoders"


@dataclass(frozen=True)
class GpuModel:
    """
    One GPU model.

    Attributes:
        name: What a policy says, and what the names of our objects carry.
        karpenter_name: Value of `karpenter.k8s.aws/instance-gpu-name`. Both A100s are "a100" there.
        memory_mib: Of one GPU; also the value of `karpenter.k8s.aws/instance-gpu-memory`.
        counts: How many GPUs one machine can have, ascending.
        families: EC2 families that carry it, for messages.
        mig: MIG profile -> most instances on one GPU; empty where the GPU cannot be cut.
        compute_slices: Into how many parts MIG cuts the compute of one GPU.
    """

    name: str
    karpenter_name: str
    memory_mib: int
    counts: tuple[int, ...]
    families: tuple[str, ...]
    mig: Mapping[str, int] = field(default_factory=dict)
    compute_slices: int = 7

    @property
    def video_engines(self) -> Mapping[str, int | None]:
        """How many ENCODERS and DECODERS one GPU has; None where that is not known here."""
        return dict(zip(VIDEO_KINDS, _VIDEO_ENGINES.get(self.name, (None, None)), strict=True))

    @property
    def memory_gib(self) -> int:
        """Rounded up, as MIG's names round: 7g.180gb is all of a B200 of 179.06 GiB."""
        return math.ceil(self.memory_mib / 1024)

    @property
    def name_is_shared(self) -> bool:
        """Whether Karpenter gives this name to another model too, so that only memory distinguishes them."""
        return any(other.karpenter_name == self.karpenter_name for other in MODELS if other.name != self.name)


_A100_40 = {"1g.5gb": 7, "1g.10gb": 4, "2g.10gb": 3, "3g.20gb": 2, "4g.20gb": 1, "7g.40gb": 1}
_80_GB = {"1g.10gb": 7, "1g.20gb": 4, "2g.20gb": 3, "3g.40gb": 2, "4g.40gb": 1, "7g.80gb": 1}
_H200 = {"1g.18gb": 7, "1g.35gb": 4, "2g.35gb": 3, "3g.71gb": 2, "4g.71gb": 1, "7g.141gb": 1}
_B200 = {"1g.23gb": 7, "1g.45gb": 4, "2g.45gb": 3, "3g.90gb": 2, "4g.90gb": 1, "7g.180gb": 1}
_B300 = {"1g.34gb": 7, "1g.67gb": 4, "2g.67gb": 3, "3g.135gb": 2, "7g.269gb": 1}
_RTX_6000 = {"1g.24gb": 4, "2g.48gb": 2, "4g.96gb": 1}

MODELS: tuple[GpuModel, ...] = (
    GpuModel("t4", "t4", 16384, (1, 4, 8), ("g4dn",)),
    GpuModel("t4g", "t4g", 16384, (1, 2), ("g5g",)),
    GpuModel("a10g", "a10g", 22888, (1, 4, 8), ("g5",)),
    GpuModel("l4", "l4", 22888, (1, 4, 8), ("g6", "gr6")),
    GpuModel("l40s", "l40s", 45776, (1, 4, 8), ("g6e",)),
    GpuModel("rtx-pro-4500", "rtx-pro-4500", 32768, (1, 2, 4, 8), ("g7",)),
    GpuModel("rtx-pro-server-6000", "rtx-pro-server-6000", 98304, (1, 2, 4, 8), ("g7e",), _RTX_6000, 4),
    GpuModel("v100", "v100", 32768, (8,), ("p3dn",)),
    # Karpenter calls both "a100". They differ in memory and in MIG profiles, so a policy says which one, and
    # its NodePool also requires instance-gpu-memory.
    GpuModel("a100-40gb", "a100", 40960, (8,), ("p4d",), _A100_40),
    GpuModel("a100-80gb", "a100", 81920, (8,), ("p4de",), _80_GB),
    GpuModel("h100", "h100", 81920, (1, 8), ("p5",), _80_GB),
    GpuModel("h200", "h200", 144384, (8,), ("p5e", "p5en"), _H200),
    GpuModel("b200", "b200", 183359, (8,), ("p6-b200",), _B200),
    GpuModel("b300", "b300", 275040, (8,), ("p6-b300",), _B300),
)

_VIDEO_ENGINES: Mapping[str, tuple[int, int]] = {
    "t4": (1, 2),
    "a10g": (1, 2),
    "l4": (2, 4),
    "l40s": (3, 3),
    "v100": (3, 1),
    "a100-40gb": (0, 5),
    "a100-80gb": (0, 5),
    "h100": (0, 7),
    "h200": (0, 7),
}

_BY_NAME = {model.name: model for model in MODELS}


def model(name: str) -> GpuModel:
    """Raises KeyError for a GPU that EC2 does not sell; ask `find` where a person wrote the name."""
    return _BY_NAME[name]


def find(name: str) -> GpuModel | None:
    return _BY_NAME.get(name)


def names() -> tuple[str, ...]:
    return tuple(_BY_NAME)


def suggestion(name: str) -> str:
    """What a person may have meant by a name that is not in the catalog; a remedy, in one sentence."""
    import difflib  # only a mistake needs it, and every cold start would pay for it

    shared = [m for m in MODELS if m.karpenter_name == name.lower()]
    if shared:
        return f"there are several kinds of {name}; say which: " + " or ".join(
            f"{m.name} ({', '.join(m.families)})" for m in shared
        )
    by_family = [m.name for m in MODELS if name.lower().split(".")[0] in m.families]
    close = by_family or difflib.get_close_matches(name.lower(), names(), n=1)
    hint = f"did you mean {close[0]}? " if close else ""
    return f"EC2 has no such GPU; {hint}EC2 sells {', '.join(names())}"


def mig_memory_gb(profile: str) -> int:
    """Memory in the name of a profile: 10 for "1g.10gb"."""
    return int(profile.split(".")[1].removesuffix("gb"))


def mig_compute_slices(profile: str) -> int:
    """Compute slices in the name of a profile: 1 for "1g.10gb"."""
    return int(profile.split("g.")[0])
