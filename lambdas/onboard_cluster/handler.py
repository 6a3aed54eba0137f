"""Queue messages about clusters, each answered by one reconcile of onboarding."""

from __future__ import annotations

import os
from functools import cache
from typing import Any

import slicewise.cold_start  # noqa: F401 -- first, see there
from aws_lambda_powertools import Logger
from aws_lambda_powertools.metrics import EphemeralMetrics
from aws_lambda_powertools.utilities.typing import LambdaContext
from slicewise.app import App
from slicewise.model.capabilities import ONBOARDING

logger = Logger()


@cache
def app() -> App:
    return App.from_env(os.environ)


@logger.inject_lambda_context
def lambda_handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """Failed messages go back to the queue; malformed ones are dropped, loudly."""
    return app().answer(event, ONBOARDING, logger, EphemeralMetrics)
