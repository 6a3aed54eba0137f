"""
Every five minutes: ask for a reconcile of each cluster whose waking is due, and report which are overdue.
"""

from __future__ import annotations

import os
from functools import cache
from typing import Any

import slicewise.cold_start  # noqa: F401 -- first, see there
from aws_lambda_powertools import Logger
from aws_lambda_powertools.metrics import MetricUnit, single_metric
from aws_lambda_powertools.utilities.typing import LambdaContext
from slicewise.app import App
from slicewise.trigger import name_of

logger = Logger()


@cache
def app() -> App:
    return App.from_env(os.environ)


@logger.inject_lambda_context
def lambda_handler(event: dict[str, Any], context: LambdaContext) -> dict[str, int]:
    triggers = app().watch_openings(report)
    logger.info("watched", extra={"looks": len(triggers)})
    return {"looks": len(triggers)}


def report(late: tuple[str, ...]) -> None:
    """The alarm's metric, each time: without a run it has no data, and with none overdue it is 0."""
    if late:
        logger.error("asleep past its hour", extra={"clusters": [name_of(one) for one in late]})
    with single_metric("AsleepPastItsHour", MetricUnit.Count, len(late), namespace="Slicewise"):
        pass
