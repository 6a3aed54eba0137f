"""AWS as deployed functions reach it: with the layer's models, so that a call that these lack fails here."""

from __future__ import annotations

import atexit
import shutil
import tempfile
from functools import cache
from pathlib import Path

from botocore.session import Session
from slicewise.gateways import botocore_clients

from cdk_app.assets import api_models


@cache
def models() -> Path:
    folder = Path(tempfile.mkdtemp(prefix="slicewise-models-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    api_models.write(folder)
    return folder


def session(
    key: str = "testing", secret: str = "testing", token: str | None = None, region: str = "eu-west-1"
) -> Session:
    made = botocore_clients.session(models())
    made.set_credentials(key, secret, token)
    made.set_config_variable("region", region)
    return made
