"""AWS as deployed functions reach it: with the layer's models, so that a call that these lack fails here."""

from __future__ import annotations

import atexit
import shutil
import tempfile
from functools import cache
from pathlib import Path

import boto3
from slicewise.gateways import aws

from cdk_app import api_models


@cache
def models() -> Path:
    folder = Path(tempfile.mkdtemp(prefix="slicewise-models-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    api_models.write(folder)
    return folder


def session(key: str = "testing", secret: str = "testing", region: str = "eu-west-1") -> boto3.Session:
    return aws.session(models(), aws_access_key_id=key, aws_secret_access_key=secret, region_name=region)
