"""
What AWS refuses of a request and moto 5.2.5 takes: names, lengths and sizes.

botocore's service models carry AWS's own least and most, patterns and enumerations; botocore checks the least
alone, moto none. They are checked here for each call of the services that our functions use. What is only
told in words (botocore 1.44.5, the members' documentation) stands in `_WORDS`, with sizes in bytes of UTF-8.

`problems` is pure, so a test's fakes may refuse by the same rules.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from typing import Any

from botocore.loaders import Loader
from botocore.model import ServiceModel

from sandbox.aws.core.patching import Patches

Parameters = Mapping[str, Any]

KIB = 1024
SQS_BODY = 1024 * KIB
SNS_MESSAGE = 256 * KIB  # a topic may allow more; ours does not
SNS_SUBJECT = 99  # "less than 100 characters"; AWS was seen to take 100
SCHEDULER_INPUT = 256 * KIB
SSM_STANDARD, SSM_ADVANCED = 4 * KIB, 8 * KIB
DYNAMODB_ITEM = 400 * KIB
DYNAMODB_PARTITION_KEY, DYNAMODB_SORT_KEY = 2048, 1024  # moto checks these
METRIC_QUERIES, METRIC_POINTS = 500, 1_440  # of a GetMetricData, of a GetMetricStatistics
ALARM_DAY, ALARM_WEEK, HOUR = 86_400, 604_800, 3_600

# How each service says that a request is wrong.
_CODES = {
    "cloudwatch": "ValidationError",
    "dynamodb": "ValidationException",
    "eks": "InvalidParameterException",
    "events": "ValidationException",
    "iam": "ValidationError",
    "scheduler": "ValidationException",
    "sns": "InvalidParameter",
    "sqs": "InvalidParameterValue",
    "ssm": "ValidationException",
}


def problems(service: str, operation: str, parameters: Parameters) -> tuple[str, ...]:
    """
    What AWS would refuse; empty where it takes the request.

    Args:
        parameters: Under the API's own names, as a boto3 client takes them.
    """
    shape = _model(service).operation_model(operation).input_shape
    by_model = tuple(_by_model(shape, parameters, "")) if shape else ()
    in_words = _WORDS.get((service, operation))
    return (*by_model, *(in_words(parameters) if in_words else ()))


def install(patches: Patches) -> None:
    """Fault healed: moto takes what is too long, or named otherwise than AWS names things."""
    from moto.core.exceptions import ServiceException
    from moto.core.responses import ActionResult, BaseResponse

    class TooMuch(ServiceException):
        pass

    def refusing(real: Any) -> Any:
        def call_action(self: Any) -> Any:
            service = self.boto3_service_name
            found = problems(service, self._get_action(), _parameters(self)) if service in _CODES else ()
            if not found:
                return real(self)
            status, headers, body = self.serialized(ActionResult(TooMuch(_CODES[service], "; ".join(found))))
            return status, headers, body

        return call_action

    patches.wrap(BaseResponse, "call_action", refusing)
    _report_that_an_alarm_is_deleted(patches)


def _report_that_an_alarm_is_deleted(patches: Patches) -> None:
    """Fault: alarms that are not there are deleted without a word; AWS answers ResourceNotFound."""
    from moto.cloudwatch.models import CloudWatchBackend
    from moto.core.exceptions import ServiceException

    class ResourceNotFound(ServiceException):
        code = "ResourceNotFound"

    def reporting(real: Any) -> Any:
        def delete_alarms(self: Any, alarm_names: list[str]) -> None:
            missing = [name for name in alarm_names if name not in self.alarms]
            real(self, alarm_names)
            if missing:
                raise ResourceNotFound(f"there is no alarm {', '.join(missing)}")

        return delete_alarms

    patches.wrap(CloudWatchBackend, "delete_alarms", reporting)


def _parameters(response: Any) -> Parameters:
    if response.automated_parameter_parsing:
        return dict(response.params)
    before = vars(response).get("params")
    try:
        response.parse_parameters(response.normalized_request)
        return dict(response.params)
    finally:
        # As if nobody had read them: moto's own code reads some of these otherwise.
        vars(response).pop("params")
        if before is not None:
            response.params = before


# By AWS's own models


@cache
def _model(service: str) -> ServiceModel:
    """Not moto's, which it changes."""
    return ServiceModel(Loader().load_service_model(service, "service-2"), service)


def _by_model(shape: Any, value: Any, path: str) -> Iterator[str]:
    if shape.type_name == "structure" and isinstance(value, Mapping):
        for name, member in shape.members.items():
            if value.get(name) is not None:
                yield from _by_model(member, value[name], f"{path}.{name}" if path else name)
    elif shape.type_name == "list" and isinstance(value, list | tuple):
        yield from _measured(shape, len(value), path, "items")
        for index, one in enumerate(value):
            yield from _by_model(shape.member, one, f"{path}[{index}]")
    elif shape.type_name == "map" and isinstance(value, Mapping):
        if len(value) > shape.metadata.get("max", len(value)):  # of a least botocore knows nothing either
            yield f"{path}: {len(value)} entries, and the most is {shape.metadata['max']}"
        for key, one in value.items():
            yield from _by_model(shape.key, key, f"{path}'s key")
            yield from _by_model(shape.value, one, f"{path}.{key}")
    elif shape.type_name == "string" and isinstance(value, str):
        yield from _measured(shape, len(value), path, "characters")
        yield from _spelled(shape, value, path)
    elif shape.type_name in ("integer", "long") and isinstance(value, int):
        yield from _measured(shape, value, path, "")


def _measured(shape: Any, size: int, path: str, what: str) -> Iterator[str]:
    least, most = shape.metadata.get("min"), shape.metadata.get("max")
    if least is not None and size < least:
        yield f"{path}: {size} {what}, and the least is {least}"
    if most is not None and size > most:
        yield f"{path}: {size} {what}, and the most is {most}"


def _spelled(shape: Any, value: str, path: str) -> Iterator[str]:
    pattern = _compiled(shape.metadata.get("pattern", ""))
    if pattern and not pattern.fullmatch(value):
        yield f"{path}: {value[:100]!r} does not match {pattern.pattern}"
    if shape.enum and value not in shape.enum:
        yield f"{path}: {value[:100]!r} is none of {', '.join(shape.enum)}"


@cache
def _compiled(pattern: str) -> re.Pattern[str] | None:
    try:
        return re.compile(pattern) if pattern else None
    except re.error:  # of another dialect, such as \p{L}
        return None


# What the models say in words only


def _longer(path: str, value: Any, most: int) -> Iterator[str]:
    size = len(str(value or "").encode())
    if size > most:
        yield f"{path}: {size} bytes, and the most is {most}"


# All that XML 1.0 can say.
_NO_TEXT = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def _message(wanted: Parameters) -> Iterator[str]:
    yield from _longer("MessageBody", wanted.get("MessageBody"), SQS_BODY)
    if not wanted.get("MessageBody") or _NO_TEXT.search(wanted["MessageBody"]):
        yield "MessageBody: is empty, or holds characters that no XML holds"
    if not 0 <= int(wanted.get("DelaySeconds") or 0) <= 900:
        yield "DelaySeconds: must be from 0 to 900"


def _queue(wanted: Parameters) -> Iterator[str]:
    retention = (wanted.get("Attributes") or {}).get("MessageRetentionPeriod")
    if retention is not None and not 60 <= int(retention) <= 1_209_600:
        yield "Attributes.MessageRetentionPeriod: must be from 60 to 1209600"


def _messages(wanted: Parameters) -> Iterator[str]:
    entries = wanted.get("Entries") or ()
    for entry in entries:
        yield from _message(entry)
    yield from _longer("Entries", "".join(entry["MessageBody"] for entry in entries), SQS_BODY)


def _notice(wanted: Parameters) -> Iterator[str]:
    yield from _longer("Message", wanted.get("Message"), SNS_MESSAGE)
    subject = wanted.get("Subject")
    if subject is not None and not (0 < len(subject) <= SNS_SUBJECT and subject.isprintable()):
        yield "Subject: must be a line of less than 100 characters, without control characters"
    if not wanted.get("Message"):
        yield "Message: is empty"


def _schedule(wanted: Parameters) -> Iterator[str]:
    yield from _longer("Target.Input", (wanted.get("Target") or {}).get("Input"), SCHEDULER_INPUT)


_PARAMETER_NAME = re.compile(r"[A-Za-z0-9_.\-/:]{1,1011}")


def _named_parameter(wanted: Parameters) -> Iterator[str]:
    if not _PARAMETER_NAME.fullmatch(wanted["Name"]):
        yield "Name: letters, digits and . - _ /, 1,011 at most"


def _parameter(wanted: Parameters) -> Iterator[str]:
    yield from _named_parameter(wanted)
    advanced = wanted.get("Tier") in ("Advanced", "Intelligent-Tiering")
    yield from _longer("Value", wanted.get("Value"), SSM_ADVANCED if advanced else SSM_STANDARD)
    if re.search(r"\{\{.*\}\}", wanted.get("Value") or "", re.DOTALL):
        yield "Value: must not nest another parameter: {{ }}"


def _item(wanted: Parameters) -> Iterator[str]:
    size = item_bytes(wanted["Item"])
    if size > DYNAMODB_ITEM:
        yield f"Item size has exceeded the maximum allowed size: {size} of {DYNAMODB_ITEM} bytes"


def item_bytes(item: Mapping[str, Any]) -> int:
    """As DynamoDB counts an item, its keys included (developer guide, "Item sizes and formats")."""
    return sum(len(name.encode()) + _value_bytes(value) for name, value in item.items())


def _value_bytes(spelled: Mapping[str, Any]) -> int:
    [(kind, value)] = spelled.items()
    match kind:
        case "S":
            return len(value.encode())
        case "B":
            # Bytes where a client is asked, and their base64 where a request has come.
            return len(value if isinstance(value, bytes) else base64.b64decode(value))
        case "N":
            return len(value.strip("-").replace(".", "").strip("0")) // 2 + 2
        case "M":
            return 3 + sum(len(key.encode()) + _value_bytes(one) + 1 for key, one in value.items())
        case "L":
            return 3 + sum(_value_bytes(one) + 1 for one in value)
        case "SS" | "NS" | "BS":
            return sum(len(one.encode()) for one in value)
    return 1


_QUERY_ID = re.compile(r"[a-z][A-Za-z0-9_]*")


def _queries(queries: Any) -> Iterator[str]:
    ids = [query.get("Id", "") for query in queries or ()]
    yield from (f"Id: {id!r} begins with no small letter" for id in ids if not _QUERY_ID.fullmatch(id))
    if len(set(ids)) < len(ids):
        yield "Id: must be unique within a call"
    for query in queries or ():
        if (period := (query.get("MetricStat") or {}).get("Period", 60)) % 60:
            yield f"Period: {period} is no multiple of 60"


def _alarm(wanted: Parameters) -> Iterator[str]:
    queries = wanted.get("Metrics") or ()
    yield from _queries(queries)
    if queries and sum(bool(query.get("ReturnData", True)) for query in queries) != 1:
        yield "Metrics: exactly one must be returned"
    for query in queries:
        period = (query.get("MetricStat") or {}).get("Period", 0)
        if period * wanted.get("EvaluationPeriods", 1) > (ALARM_WEEK if period >= HOUR else ALARM_DAY):
            yield "EvaluationPeriods times Period: more than a day, or a week for periods of an hour"
    if len(wanted.get("Tags") or ()) > 50:
        yield "Tags: 50 at most"


def _metric_data(wanted: Parameters) -> Iterator[str]:
    queries = wanted.get("MetricDataQueries") or ()
    yield from _queries(queries)
    if len(queries) > METRIC_QUERIES:
        yield f"MetricDataQueries: {len(queries)}, and the most is {METRIC_QUERIES}"
    if wanted["StartTime"] >= wanted["EndTime"]:
        yield "StartTime: must be before EndTime"


def _statistics(wanted: Parameters) -> Iterator[str]:
    if wanted["StartTime"] >= wanted["EndTime"]:
        yield "StartTime: must be before EndTime"
    if wanted["Period"] % 60:
        yield f"Period: {wanted['Period']} is no multiple of 60"
    points = (wanted["EndTime"] - wanted["StartTime"]).total_seconds() / wanted["Period"]
    if points > METRIC_POINTS:
        yield f"Period: {points:.0f} datapoints, and the most is {METRIC_POINTS}"


_WORDS: Mapping[tuple[str, str], Callable[[Parameters], Iterator[str]]] = {
    ("sqs", "CreateQueue"): _queue,
    ("sqs", "SetQueueAttributes"): _queue,
    ("sqs", "SendMessage"): _message,
    ("sqs", "SendMessageBatch"): _messages,
    ("sns", "Publish"): _notice,
    ("scheduler", "CreateSchedule"): _schedule,
    ("scheduler", "UpdateSchedule"): _schedule,
    ("ssm", "PutParameter"): _parameter,
    ("ssm", "GetParameter"): _named_parameter,
    ("dynamodb", "PutItem"): _item,
    ("cloudwatch", "PutMetricAlarm"): _alarm,
    ("cloudwatch", "GetMetricData"): _metric_data,
    ("cloudwatch", "GetMetricStatistics"): _statistics,
}
