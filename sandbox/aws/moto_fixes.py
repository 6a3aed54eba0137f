"""
What moto 5.2.5 does differently from AWS, put right in its own process.

Each function heals one fault and names it; `tests/sandbox/aws/test_moto_fixes.py` shows the
fault on plain moto beside the healed behaviour, so that a fix which moto no longer needs is noticed.
CloudFormation's faults are in `stack_fixes`, what AWS refuses by size or name in `limits`, whole missing
services in modules of their own.
"""

from __future__ import annotations

import functools
import inspect
import json
import threading
import time
from datetime import UTC, datetime
from typing import Any
from urllib.parse import unquote

from sandbox.aws.core import registry
from sandbox.aws.core.patching import Patches
from sandbox.aws.functions.functions import Functions

SUPPORTED_RULE_TARGETS = ("sqs", "logs", "events")


def install(patches: Patches) -> None:
    _know_the_services(patches)
    _do_not_count_a_queue_for_each_message(patches)
    _write_one_item_at_a_time(patches)
    _use_the_back_end_without_docker(patches)
    _run_functions_on_invoke(patches)
    _leave_mapped_queues_to_our_pollers(patches)
    _refuse_mappings_that_are_not_played(patches)
    _shape_events_as_event_bridge_does(patches)
    _refuse_targets_that_never_fire(patches)
    _know_that_a_cluster_is_deleted(patches)
    _know_that_a_boundary_must_be_there(patches)


def _know_the_services(patches: Patches) -> None:
    """Fault: each request lists moto's whole package on disk, which takes longer than to answer it."""
    from moto import backends

    known = tuple(backends.list_of_moto_modules())
    patches.replace(backends, "list_of_moto_modules", lambda: known)


def _do_not_count_a_queue_for_each_message(patches: Patches) -> None:
    """Fault: whether a message is too old is asked of all attributes, for which all messages are counted."""
    from moto.sqs.models import SQSBackend

    def is_kept(self: Any, queue_name: str, message: Any) -> bool:
        period = self.get_queue(queue_name).message_retention_period
        return bool(message.sent_timestamp / 1000 + period > time.time())

    patches.wrap(SQSBackend, "is_message_valid_based_on_retention_period", lambda real: is_kept)


def _write_one_item_at_a_time(patches: Patches) -> None:
    """Fault: of two conditional writes at one time both may find their condition true."""
    from moto.dynamodb.models import DynamoDBBackend

    one_at_a_time = threading.RLock()

    def locked(real: Any) -> Any:
        @functools.wraps(real)
        def write(*arguments: Any, **named: Any) -> Any:
            with one_at_a_time:
                return real(*arguments, **named)

        return write

    for name in ("put_item", "update_item", "delete_item", "transact_write_items"):
        patches.wrap(DynamoDBBackend, name, locked)


def _use_the_back_end_without_docker(patches: Patches) -> None:
    """Fault: Lambda needs docker unless told otherwise, and server mode has no way to tell it at start."""
    from moto.core.models import default_user_config

    patches.put(default_user_config, "lambda", {"use_docker": False})


def _run_functions_on_invoke(patches: Patches) -> None:
    """Fault: without docker, `Invoke` echoes the payload; the code never runs."""
    from moto.awslambda_simple.models import LambdaSimpleBackend

    def wrapped(echo: Any) -> Any:
        def invoke(
            self: Any, function_name: str, qualifier: Any, body: Any, headers: Any, response_headers: Any
        ) -> Any:
            account = registry.of(self.account_id)
            if account is None:
                return echo(self, function_name, qualifier, body, headers, response_headers)
            name, functions = unquote(function_name), account.service(Functions)
            self.get_function(name.split(":")[6] if name.startswith("arn:") else name)  # or moto's own 404
            kind = headers.get("X-Amz-Invocation-Type", "RequestResponse")
            event = body if isinstance(body, bytes) else (body or "{}").encode()
            if kind == "DryRun":
                return b""
            if kind == "Event":
                functions.invoke_later(name, event)
                return b""
            outcome = functions.invoke_raw(name, event)
            if outcome.failed:
                response_headers["x-amz-function-error"] = "Unhandled"
            return outcome.payload

        return invoke

    patches.wrap(LambdaSimpleBackend, "invoke", wrapped)


def _leave_mapped_queues_to_our_pollers(patches: Patches) -> None:
    """Fault: at each send, moto takes the mapped queue's messages and deletes them after an echo."""
    from moto.sqs.models import Queue

    nothing = property(lambda queue: {}, lambda queue, value: None)
    patches.replace(Queue, "lambda_event_source_mappings", nothing)


def _refuse_mappings_that_are_not_played(patches: Patches) -> None:
    """Fault: filters of a mapping and the order of a FIFO queue are accepted; nobody keeps them."""
    from moto.awslambda.exceptions import InvalidParameterValueException
    from moto.awslambda.models import LambdaBackend

    def wrapped(real: Any) -> Any:
        def create_event_source_mapping(self: Any, spec: dict[str, Any]) -> Any:
            source = spec["EventSourceArn"]
            played = ":sqs:" in source and not source.endswith(".fifo") and not spec.get("FilterCriteria")
            if registry.of(self.account_id) and not played:
                raise InvalidParameterValueException(
                    f"the sandbox polls standard SQS queues without filters only, not {source}"
                )
            return real(self, spec)

        return create_event_source_mapping

    patches.wrap(LambdaBackend, "create_event_source_mapping", wrapped)


def _shape_events_as_event_bridge_does(patches: Patches) -> None:
    """
    Faults: a queue's event lacks `account`, a target's `Input` and `InputPath` are ignored, and a rule with a
    schedule alone takes every event.
    """
    from moto.events.models import Rule
    from moto.sqs.models import sqs_backends

    def wrapped(real: Any) -> Any:
        def send_to_targets(self: Any, original_event: Any, transform_input: bool = True) -> None:
            if not self.event_pattern.dump() or not self.event_pattern.matches_event(original_event):
                return
            queues = sqs_backends[self.account_id][self.region_name]
            for target in filter(_is_queue, self.targets):
                queues.send_message(
                    queue_name=target["Arn"].split(":")[-1],
                    message_body=json.dumps(_target_input(target, original_event)),
                    group_id=target.get("SqsParameters", {}).get("MessageGroupId"),
                )
            all_targets = self.targets
            self.targets = [target for target in all_targets if not _is_queue(target)]
            try:
                real(self, original_event, transform_input)
            finally:
                self.targets = all_targets

        return send_to_targets

    patches.wrap(Rule, "send_to_targets", wrapped)


def _is_queue(target: dict[str, Any]) -> bool:
    return target["Arn"].split(":")[2] == "sqs"


def _target_input(target: dict[str, Any], event: dict[str, Any]) -> Any:
    """What the target gets: a constant, a part, a transformed text, or the event as EventBridge sends it."""
    from moto.events.utils import EventTemplateParser

    if "Input" in target:
        return json.loads(target["Input"])
    if transformer := target.get("InputTransformer"):
        template, paths = transformer["InputTemplate"], transformer.get("InputPathsMap", {})
        return EventTemplateParser.parse(input_template=template, input_paths_map=paths, event=event)
    whole = {key: value for key, value in event.items() if key != "ingestion-time"}
    whole["time"] = datetime.fromtimestamp(float(event["time"]), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    for part in target.get("InputPath", "$").removeprefix("$").split("."):
        whole = whole[part] if part else whole
    return whole


def _refuse_targets_that_never_fire(patches: Patches) -> None:
    """
    Fault: moto accepts Lambda and SNS targets, then fails each PutEvents with HTTP 500. A rule by the clock
    may call a function: here it never does, and who needs that invokes it (System.watch_openings).
    """
    from moto.events.exceptions import ValidationException
    from moto.events.models import EventsBackend

    def wrapped(real: Any) -> Any:
        def put_targets(self: Any, name: str, event_bus_arn: Any, targets: list[dict[str, Any]]) -> None:
            scheduled = self.describe_rule(name, event_bus_arn).scheduled_expression
            supported = (*SUPPORTED_RULE_TARGETS, "lambda") if scheduled else SUPPORTED_RULE_TARGETS
            for target in targets:
                service = target["Arn"].split(":")[2]
                if registry.of(self.account_id) and service not in supported:
                    raise ValidationException(
                        f"the sandbox delivers a rule's events to {', '.join(SUPPORTED_RULE_TARGETS)} only,"
                        f" not to {target['Arn']}: put a queue in between"
                    )
            real(self, name, event_bus_arn, targets)

        return put_targets

    patches.wrap(EventsBackend, "put_targets", wrapped)


def _know_that_a_cluster_is_deleted(patches: Patches) -> None:
    """Fault: who lists the node groups of a cluster that is not there gets HTTP 500."""
    from moto.eks.exceptions import ResourceNotFoundException
    from moto.eks.models import EKSBackend

    def wrapped(real: Any) -> Any:
        def list_nodegroups(self: Any, cluster_name: str, *args: Any, **kwargs: Any) -> Any:
            if cluster_name not in self.clusters:
                raise ResourceNotFoundException(message=f"there is no cluster {cluster_name}")
            return real(self, cluster_name, *args, **kwargs)

        return list_nodegroups

    patches.wrap(EKSBackend, "list_nodegroups", wrapped)


def _know_that_a_boundary_must_be_there(patches: Patches) -> None:
    """Fault: a role is made with a permissions boundary that does not exist; AWS answers NoSuchEntity."""
    from moto.iam.exceptions import NotFoundException
    from moto.iam.models import IAMBackend

    def wrapped(real: Any) -> Any:
        parameters = inspect.signature(real)

        def create_role(self: Any, *given: Any, **named: Any) -> Any:
            boundary = parameters.bind(self, *given, **named).arguments["permissions_boundary"]
            if boundary and boundary not in self.managed_policies:
                raise NotFoundException(f"Scope ARN: {boundary} does not exist or is not attachable.")
            return real(self, *given, **named)

        return create_role

    patches.wrap(IAMBackend, "create_role", wrapped)
