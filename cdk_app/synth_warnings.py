"""What `cdk deploy` warns of before a person agrees to it."""

from __future__ import annotations

import aws_cdk as cdk
from constructs import IConstruct

from cdk_app.config import Config


def write(stack: IConstruct, config: Config, *, has_bytecode: bool) -> None:
    if not has_bytecode:
        _slow_starts(stack)
    _unchecked_charts(stack, config)
    if config.metrics:
        _metrics_cost(stack)


def _metrics_cost(stack: IConstruct) -> None:
    cdk.Annotations.of(stack).add_info_v2(
        "slicewise:metrics-cost",
        "Metrics are on: CloudWatch charges 0.30 $ a month for each, which is 1.80 $ for a NodePool and "
        "2.10 $ for a cluster (docs/dashboards.md). Without -c metrics and -c dashboard there are none.",
    )


def _slow_starts(stack: IConstruct) -> None:
    cdk.Annotations.of(stack).add_warning_v2(
        "slicewise:no-bytecode",
        "No Python 3.13 was found to compile the Lambda code with: every cold start compiles it again "
        "and takes 4 to 6 times longer. Install Python 3.13, or pass -c bytecode_python=PATH.",
    )


def _unchecked_charts(stack: IConstruct, config: Config) -> None:
    """The installer is cluster admin when it installs them."""
    charts = {"gpu_operator": config.gpu_operator} | (
        {"karpenter": config.karpenter, "karpenter_crd": config.karpenter_crd}
        if config.install_karpenter
        else {}
    )
    for name, source in charts.items():
        if not source.digest:
            cdk.Annotations.of(stack).add_warning_v2(
                f"slicewise:chart-unchecked-{name}",
                f"{source.reference} {source.version} is installed as it comes: no sha256 is given. "
                f"Check what `{source.shown_by}` prints, and pass -c {name}_sha256=<those digits>.",
            )
