"""
Deploys a synthesized CDK app (a cloud assembly folder) without the CDK CLI.

What the CLI does, less change sets: the bootstrap version parameter, assets to their bucket,
then each stack's template to CloudFormation, in the order of their dependencies.
"""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from sandbox.aws.core.account import Account

# Of the modern bootstrap template; CDK's templates refuse to deploy on less than they need (6).
BOOTSTRAP_PARAMETER, BOOTSTRAP_VERSION = "/cdk-bootstrap/hnb659fds/version", "30"
CAPABILITIES = ["CAPABILITY_IAM", "CAPABILITY_NAMED_IAM", "CAPABILITY_AUTO_EXPAND"]


class DeploymentFailed(Exception):
    """A stack did not reach a complete state, or a resource of it was not made."""


def deploy(assembly: Path, account: Account) -> dict[str, str]:
    """
    Create the assembly's stacks.

    Returns:
        The outputs of all stacks together.

    Raises:
        DeploymentFailed: With the resources that CloudFormation left out.
    """
    return _put(assembly, account, "create_stack")


def update(assembly: Path, account: Account) -> dict[str, str]:
    """Bring the deployed stacks to what the assembly says; returns as `deploy` does."""
    return _put(assembly, account, "update_stack")


def destroy(assembly: Path, account: Account) -> None:
    cloudformation = account.client("cloudformation")
    for name, _ in reversed(_stacks(assembly)):
        cloudformation.delete_stack(StackName=name)


def _put(assembly: Path, account: Account, verb: str) -> dict[str, str]:
    cloudformation = account.client("cloudformation")
    account.client("ssm").put_parameter(
        Name=BOOTSTRAP_PARAMETER, Value=BOOTSTRAP_VERSION, Type="String", Overwrite=True
    )
    _upload_assets(assembly, account)
    outputs: dict[str, str] = {}
    for name, template in _stacks(assembly):
        body = template.read_text()
        getattr(cloudformation, verb)(StackName=name, TemplateBody=body, Capabilities=CAPABILITIES)
        stack = cloudformation.describe_stacks(StackName=name)["Stacks"][0]
        _check(cloudformation, stack, json.loads(body)["Resources"])
        outputs |= {output["OutputKey"]: output["OutputValue"] for output in stack.get("Outputs", [])}
    return outputs


def _check(cloudformation: Any, stack: Mapping[str, Any], wanted: Mapping[str, Any]) -> None:
    name, status = stack["StackName"], stack["StackStatus"]
    if not status.endswith("_COMPLETE") or "ROLLBACK" in status:
        raise DeploymentFailed(
            f"stack {name} is {status}: {stack.get('StackStatusReason', 'no reason given')}"
        )
    # moto leaves types that it does not know out and reports success.
    made = {
        one.get("LogicalResourceId")
        for one in cloudformation.describe_stack_resources(StackName=name)["StackResources"]
    }
    missing = [f"{key} ({one['Type']})" for key, one in wanted.items() if key not in made]
    if missing:
        raise DeploymentFailed(f"stack {name}: not made: {', '.join(missing)}; add the type to types.py")


def _stacks(assembly: Path) -> list[tuple[str, Path]]:
    """Name and template of each stack, those first on which others depend."""
    artifacts = json.loads((assembly / "manifest.json").read_text())["artifacts"]
    ordered: list[str] = []

    def visit(key: str) -> None:
        for other in artifacts[key].get("dependencies", []):
            if other not in ordered:
                visit(other)
        if key not in ordered:
            ordered.append(key)

    for key in artifacts:
        visit(key)
    return [
        (
            artifacts[key]["properties"].get("stackName", key),
            assembly / artifacts[key]["properties"]["templateFile"],
        )
        for key in ordered
        if artifacts[key]["type"] == "aws:cloudformation:stack"
    ]


def _upload_assets(assembly: Path, account: Account) -> None:
    s3, region = account.client("s3"), account.region
    for listing in sorted(assembly.glob("*.assets.json")):
        for asset in json.loads(listing.read_text()).get("files", {}).values():
            source = assembly / asset["source"]["path"]
            body = zipped(source) if asset["source"]["packaging"] == "zip" else source.read_bytes()
            for destination in asset["destinations"].values():
                bucket = _resolved(destination["bucketName"], account)
                with suppress(s3.exceptions.BucketAlreadyOwnedByYou):
                    s3.create_bucket(Bucket=bucket, CreateBucketConfiguration={"LocationConstraint": region})
                s3.put_object(Bucket=bucket, Key=_resolved(destination["objectKey"], account), Body=body)


def _resolved(text: str, account: Account) -> str:
    values = {"AccountId": account.account, "Region": account.region, "Partition": "aws"}
    for key, value in values.items():
        text = text.replace(f"${{AWS::{key}}}", value)
    return text


def zipped(folder: Path) -> bytes:
    """Equal folders give equal bytes; modes are kept, since layers carry programs."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                member = zipfile.ZipInfo(str(path.relative_to(folder)), (1980, 1, 1, 0, 0, 0))
                member.external_attr = path.stat().st_mode << 16
                member.compress_type = zipfile.ZIP_DEFLATED
                archive.writestr(member, path.read_bytes())
    return content.getvalue()
