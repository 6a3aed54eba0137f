"""Reads one configuration, makes the stack, synthesises."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import aws_cdk as cdk
from cdk_nag import AwsSolutionsChecks

from cdk_app.assets import bundle, policies
from cdk_app.config import Config
from cdk_app.stack import SlicewiseStack


def synthesize(context: Mapping[str, Any] | None = None, outdir: Path | None = None) -> Path:
    """
    Write the cloud assembly; needs neither docker nor credentials.

    Args:
        context: More context than what the CDK CLI passes in the environment.
        outdir: Where to; by default where the CLI wants it.

    Returns:
        The assembly's folder.

    Raises:
        DeploymentError: The configuration, a policy or an asset cannot be deployed; the message says why.
    """
    app = cdk.App(context=dict(context or {}), outdir=str(outdir) if outdir else None)
    config = Config.from_context(app.node.get_all_context())
    SlicewiseStack(
        app,
        "Slicewise",
        config=config,
        policies=policies.load(config.policies, config.default_policy),
        assets=bundle.build_all(config),
        env=cdk.Environment(account=config.account, region=config.region),
    )
    cdk.Validations.of(app).add_plugins(AwsSolutionsChecks(app))
    return Path(app.synth().directory)
