"""
botocore's description of AWS, cut down to the calls that our functions make.

A function that starts reads the model of every service that it calls, and botocore searches the folders of
400 services before each: a fifth of a cold start (`python -m bench coldstart`). The layer carries what is
left when only our calls are kept; where a service is not in it, or a call, botocore says so by name.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Set
from pathlib import Path
from typing import Any

from botocore import __version__
from botocore.loaders import JSONFileLoader, Loader

CALLS: Mapping[str, tuple[str, ...]] = {
    "cloudwatch": (
        "DeleteAlarms",
        "DescribeAlarms",
        "GetMetricData",
        "GetMetricStatistics",
        "ListMetrics",
        "PutMetricAlarm",
    ),
    "dynamodb": ("DeleteItem", "GetItem", "PutItem", "Query", "Scan", "UpdateItem"),
    "eks": (
        "AssociateAccessPolicy",
        "CreateAccessEntry",
        "CreateAddon",
        "CreateFargateProfile",
        "CreatePodIdentityAssociation",
        "DeleteAccessEntry",
        "DeleteFargateProfile",
        "DescribeAccessEntry",
        "DescribeCluster",
        "DescribeFargateProfile",
        "DescribeNodegroup",
        "DescribePodIdentityAssociation",
        "DisassociateAccessPolicy",
        "ListAddons",
        "ListAssociatedAccessPolicies",
        "ListClusters",
        "ListFargateProfiles",
        "ListNodegroups",
        "ListPodIdentityAssociations",
        "UpdateAccessEntry",
        "UpdateClusterConfig",
    ),
    "ec2": ("DescribeRouteTables",),
    "events": (
        "DeleteRule",
        "DescribeRule",
        "ListTagsForResource",
        "ListTargetsByRule",
        "PutRule",
        "PutTargets",
        "RemoveTargets",
    ),
    "iam": (
        "AttachRolePolicy",
        "CreateOpenIDConnectProvider",
        "CreateRole",
        "DeleteOpenIDConnectProvider",
        "DeleteRole",
        "DetachRolePolicy",
        "GetOpenIDConnectProvider",
        "GetRole",
        "ListAttachedRolePolicies",
        "ListRoles",
    ),
    "scheduler": ("CreateSchedule", "DeleteSchedule", "GetSchedule", "UpdateSchedule"),
    "sns": ("Publish",),
    "sqs": (
        "ChangeMessageVisibility",
        "CreateQueue",
        "DeleteQueue",
        "GetQueueAttributes",
        "GetQueueUrl",
        "ListQueueTags",
        "SendMessage",
        "SendMessageBatch",
        "SetQueueAttributes",
        "TagQueue",
    ),
    "ssm": ("GetParameter",),
}

# What the files are made from, beside this module: part of the key of who builds them.
SOURCE = f"botocore {__version__}"


def write(folder: Path) -> None:
    """In the layout of botocore's own data folder."""
    # From disk: what a session resolves, it writes into the data that it has read.
    loader = Loader(file_loader=JSONFileLoader())
    for name in ("partitions", "sdk-default-configuration"):
        _write(folder / f"{name}.json", loader.load_data(name))
    prefixes = set()
    for service, calls in CALLS.items():
        model = loader.load_service_model(service, "service-2")
        prefixes.add(model["metadata"]["endpointPrefix"])
        place = folder / service / loader.determine_latest_version(service, "service-2")
        _write(place / "service-2.json", model_of(model, calls))
        _write(place / "endpoint-rule-set-1.json", loader.load_service_model(service, "endpoint-rule-set-1"))
        pages = loader.load_service_model(service, "paginators-1")["pagination"]
        kept = {call: page for call, page in pages.items() if call in calls}
        _write(place / "paginators-1.json", {"pagination": kept})
    _write(folder / "endpoints.json", endpoints_of(loader.load_data("endpoints"), prefixes))


def model_of(model: Mapping[str, Any], calls: Iterable[str]) -> dict[str, Any]:
    """
    A service's model with these calls, and the shapes that they reach.

    Raises:
        KeyError: A call that the service does not have.
    """
    operations = {call: model["operations"][call] for call in calls}
    shapes: dict[str, Any] = {}
    ahead = _shapes_in(operations)
    while ahead:
        name = ahead.pop()
        if name not in shapes:
            shapes[name] = model["shapes"][name]
            ahead |= _shapes_in(shapes[name])
    rest = {key: value for key, value in model.items() if key not in ("operations", "shapes")}
    # Sorted: equal input is to give an equal layer.
    kept: dict[str, Any] = _undocumented(
        rest | {"operations": operations, "shapes": dict(sorted(shapes.items()))}
    )
    return kept


def endpoints_of(endpoints: Mapping[str, Any], prefixes: Set[str]) -> dict[str, Any]:
    """In every partition, the data about the services with these prefixes (CloudWatch's is "monitoring")."""
    return {
        **endpoints,
        "partitions": [
            {
                **partition,
                "services": {
                    name: entry for name, entry in partition["services"].items() if name in prefixes
                },
            }
            for partition in endpoints["partitions"]
        ],
    }


def _shapes_in(part: Any) -> set[str]:
    """Names of the shapes that a part of a model refers to."""
    if isinstance(part, Mapping):
        own = {part["shape"]} if isinstance(part.get("shape"), str) else set()
        return own.union(*(_shapes_in(value) for value in part.values()))
    return set().union(*(_shapes_in(item) for item in part)) if isinstance(part, list) else set()


def _undocumented(part: Any) -> Any:
    """Documentation is text wherever it is; a member of that name is a shape, and stays."""
    if isinstance(part, Mapping):
        return {
            key: _undocumented(value)
            for key, value in part.items()
            if not (key == "documentation" and isinstance(value, str))
        }
    return [_undocumented(item) for item in part] if isinstance(part, list) else part


def _write(path: Path, data: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(data, separators=(",", ":")))
