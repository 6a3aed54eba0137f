"""Where Slicewise is deployed: asked of AWS, with the caller's own credentials."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError
from botocore.session import Session, get_session
from slicewise.app import App, MissingSetting

FUNCTION = "slicewise-onboard-cluster"


class NotDeployed(Exception):
    """There is no deployment to talk to, or no right to."""


def app() -> App:
    """
    The deployment in this account and Region, with the very settings that its installer function has.

    A person reads clusters with their own access entry, not with the installer's.

    Raises:
        NotDeployed: says what was tried and what to do.
    """
    session = get_session()
    region = os.environ.get("AWS_REGION") or session.get_config_variable("region")
    if not region:
        raise NotDeployed("no Region is set: set AWS_REGION, or a profile with a region")
    environ = dict(os.environ) if "TABLE_NAME" in os.environ else _settings_of(session, region)
    try:
        return replace(App.from_env({**environ, "AWS_REGION": region}, session), as_person=True)
    except MissingSetting as error:
        raise NotDeployed(f"function {FUNCTION} is of another release: {error}") from error


def _settings_of(session: Session, region: str) -> dict[str, str]:
    try:
        functions: Any = session.create_client("lambda", region_name=region)
        found = functions.get_function_configuration(FunctionName=FUNCTION)
    except (ClientError, BotoCoreError) as error:
        raise NotDeployed(
            f"cannot read function {FUNCTION} in {region}: {error}. Deploy Slicewise there (cdk deploy), or "
            "choose the account and Region where it is (AWS_PROFILE, AWS_REGION)"
        ) from error
    variables: dict[str, str] = found.get("Environment", {}).get("Variables", {})
    return variables
