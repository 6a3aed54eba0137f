"""Every hour: ask for a reconcile of every cluster, so that a lost event costs an hour and nothing more."""

from __future__ import annotations

import os
from functools import cache
from typing import Any

import slicewise.cold_start  # noqa: F401 -- first, see there
from aws_lambda_powertools import Logger
from aws_lambda_powertools.utilities.typing import LambdaContext
from slicewise.app import App

logger = Logger()


@cache
def app() -> App:
    return App.from_env(os.environ)


@logger.inject_lambda_context
def lambda_handler(event: dict[str, Any], context: LambdaContext) -> dict[str, int]:
    triggers = app().sweep(logger)
    logger.info("swept", extra={"looks": len(triggers)})
    return {"looks": len(triggers)}
