"""A CloudWatch dashboard of what reconciles report (slicewise.planning.measures)."""

from __future__ import annotations

from aws_cdk import Duration
from aws_cdk import aws_cloudwatch as cloudwatch
from constructs import Construct

NAMESPACE = "Slicewise"
POOL, CLUSTER, CAPABILITY = ("Cluster", "NodePool"), ("Cluster",), ("Cluster", "Capability")
# The sweep has every cluster reconciled once an hour, so that each period has a value.
PERIOD = Duration.hours(1)


class Dashboard(Construct):
    """
    Named `slicewise`. Its widgets search: a cluster or NodePool that comes later is on it with no deployment.

    A search finds metrics that had a value in the last two weeks, 500 at most.
    """

    def __init__(self, scope: Construct, id: str):
        super().__init__(scope, id)
        board = cloudwatch.Dashboard(
            self, "Board", dashboard_name="slicewise", default_interval=Duration.days(7)
        )
        board.add_widgets(
            _number("GPUs", _total("GPUs", "GPUs")),
            _number("GPUs saved against one pod a GPU", _total("GPUsSaved", "GPUs saved")),
            _number("Blocking findings", _total("BlockingFindings", "findings", CAPABILITY, "Maximum")),
        )
        board.add_widgets(
            _graph("Slices per GPU (N)", _each("SlicesPerGPU")), _graph("Slices in use", _each("SlicesInUse"))
        )
        board.add_widgets(_graph("GPUs", _each("GPUs")), _graph("GPUs saved", _each("GPUsSaved")))
        board.add_widgets(
            _graph("GPUs busy, in percent", _each("GPUBusy")),
            _graph("Asleep", _each("Asleep", POOL, "Maximum")),
        )
        board.add_widgets(
            _graph("Changes an hour", _each("Changes", CLUSTER, "Sum")),
            _graph(
                "Findings",
                _each("Findings", CAPABILITY, "Maximum"),
                _each("BlockingFindings", CAPABILITY, "Maximum", label="blocking"),
            ),
        )


def search(metric: str, dimensions: tuple[str, ...], statistic: str) -> str:
    """Every metric of this name with exactly these dimensions."""
    schema = ",".join((NAMESPACE, *dimensions))
    period = PERIOD.to_seconds()
    return f"SEARCH('{{{schema}}} MetricName=\"{metric}\"', '{statistic}', {period:g})"


def _each(
    metric: str, dimensions: tuple[str, ...] = POOL, statistic: str = "Average", label: str = ""
) -> cloudwatch.MathExpression:
    return _math(search(metric, dimensions, statistic), label)


def _total(
    metric: str, label: str, dimensions: tuple[str, ...] = POOL, statistic: str = "Average"
) -> cloudwatch.MathExpression:
    return _math(f"SUM({search(metric, dimensions, statistic)})", label)


def _math(expression: str, label: str) -> cloudwatch.MathExpression:
    return cloudwatch.MathExpression(expression=expression, label=label, using_metrics={}, period=PERIOD)


def _graph(title: str, *metrics: cloudwatch.MathExpression) -> cloudwatch.GraphWidget:
    axis = cloudwatch.YAxisProps(min=0, show_units=False)
    return cloudwatch.GraphWidget(title=title, left=list(metrics), left_y_axis=axis, width=12, height=6)


def _number(title: str, metric: cloudwatch.MathExpression) -> cloudwatch.SingleValueWidget:
    return cloudwatch.SingleValueWidget(title=title, metrics=[metric], width=8, height=4, period=PERIOD)
