"""A batch of SQS messages, answered as the event source mapping wants it (ReportBatchItemFailures)."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from slicewise.errors import InvalidEvent, SlicewiseError
from slicewise.ports import Queues
from slicewise.reconcile import metric_log
from slicewise.reconcile.metric_log import NewMetrics
from slicewise.reconcile.reconciler import GIVEN_UP, Delivery, Reconciler, Report
from slicewise.trigger import DeploymentScope, Ignored, read

_FIRST_RETRY = timedelta(seconds=10)
# Then the queue moves a message to the dead-letter queue; a test checks that the deployment has it.
MOST_RECEIVES = 5


def answer(
    event: Mapping[str, Any],
    reconciler: Reconciler[Any],
    scope: DeploymentScope,
    queues: Queues,
    capability: str,
    log: logging.Logger | Any,
    new_metrics: NewMetrics | None = None,
) -> dict[str, Any]:
    """
    Run one reconcile a message.

    A malformed message is dropped with one ERROR line: no retry fixes it, and the dead-letter queue, whose
    alarm means that a cluster needs help, is no place for it. Any other failure leaves its message on the
    queue, to come back in 10 s, 20 s, 40 s and so on.

    Args:
        new_metrics: For the metrics of each reconcile; None where they are off.
    """
    failed = []
    for message in event["Records"]:
        try:
            report = _handle(message, reconciler, scope, log)
            if report and new_metrics:
                _measure(report, new_metrics, log)
        except InvalidEvent as error:
            log.error(
                "dropped a malformed message", extra={"message_id": message["messageId"], "why": str(error)}
            )
        except Exception as error:
            log.exception(
                "a reconcile failed", extra={"message_id": message["messageId"], "kind": type(error).__name__}
            )
            _bring_back(message, capability, queues)
            failed.append({"itemIdentifier": message["messageId"]})
    return {"batchItemFailures": failed}


def _handle(
    message: Mapping[str, Any], reconciler: Reconciler[Any], scope: DeploymentScope, log: Any
) -> Report | None:
    trigger = read(message["body"], scope)
    if isinstance(trigger, Ignored):
        log.info("ignored", extra={"reason": trigger.reason})
        return None
    began = time.monotonic()
    report = reconciler.run(trigger, _delivery(message))
    line = report.line() | {"seconds": round(time.monotonic() - began, 3)}
    if report.stage == GIVEN_UP:
        log.error("gave up", extra=line)
    else:
        log.info("decided", extra=line)
    return report


def _measure(report: Report, new_metrics: NewMetrics, log: Any) -> None:
    """The reconcile is done and recorded: it is not repeated for a metric."""
    try:
        metric_log.write(report.measures, new_metrics)
    except Exception as error:
        log.warning("metrics could not be written", extra={"why": f"{type(error).__name__}: {error}"})


def _delivery(message: Mapping[str, Any]) -> Delivery:
    times = _times_received(message)
    return Delivery(times, MOST_RECEIVES, retry_delay(times))


def _times_received(message: Mapping[str, Any]) -> int:
    return int(message.get("attributes", {}).get("ApproximateReceiveCount", 1))


def _bring_back(message: Mapping[str, Any], capability: str, queues: Queues) -> None:
    """Sooner than the queue's visibility timeout, which has to be longer than the longest reconcile."""
    delay = retry_delay(_times_received(message))
    try:
        queues.retry_in(capability, message["receiptHandle"], delay)
    except SlicewiseError:
        return  # then the visibility timeout brings it back


def retry_delay(times_received: int) -> timedelta:
    # Ten doublings are far beyond the cap already.
    return min(_FIRST_RETRY * (1 << min(max(times_received - 1, 0), 10)), timedelta(seconds=900))
