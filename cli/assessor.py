"""Reads the clusters of `slicewise assess`, and prints what its options ask for."""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed, wait
from contextlib import nullcontext
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from slicewise.costs.prices import Prices
from slicewise.errors import InvalidPolicy, Refused, SlicewiseError, Unavailable
from slicewise.model.cluster import Series
from slicewise.policy.model import MetricsSource, parse
from slicewise.ports import Metrics
from slicewise.tuning.usage.pool_usage import STEP, WINDOW

from cli import kube_context, prices, recorded_series
from cli.assessment import policy_file, report, rights
from cli.assessment.assessment import Assessment, ClusterListing, assess, contents_of, groups_of
from cli.assessment.evidence import NOTHING_MEASURED, Evidence, evidence
from cli.assessment.inventory import gpu_nodes
from cli.terminal import progress

if TYPE_CHECKING:
    from botocore.session import Session

# Clusters are read side by side.
MOST_AT_ONCE = 8
_LEAST, _DAY = timedelta(days=1), timedelta(days=1)


@dataclass(frozen=True)
class Source:
    """Where measured use is read: `recorded` in place of a service."""

    kind: MetricsSource = MetricsSource.NONE
    endpoint: str = ""
    recorded: tuple[Series, ...] = ()
    span: timedelta = WINDOW


def run(arguments: argparse.Namespace) -> int:
    """0: all clusters were read; 2: one, its nodes or its pods could not be, or a price is of no node."""
    if arguments.rights:
        print(rights.text())
        return 0
    zone, given, source = _zone(arguments.time_zone), _given(arguments.price), _source(arguments)
    contexts = kube_context.contexts(arguments.context)
    if len(contexts) > 1 and (arguments.write_policy or arguments.cluster_name):
        raise Refused("--write-policy and --cluster-name are of one cluster. Name one --context.")

    def one(context: str) -> Assessment:
        found = kube_context.read(context)
        found = replace(found, cluster=arguments.cluster_name or found.cluster)
        now, (paid, trouble) = datetime.now(UTC), _prices(arguments.prices, found, given)
        found = replace(found, unread=(*found.unread, *trouble))
        return assess(found, now, zone, measured(found, source, now), paid)

    assessments, failed = _side_by_side(contexts, one)
    assessments, repeated = once_each(assessments)
    for again, first in repeated:
        what = f"is the cluster of context {first.context}, which counts; leave it out"
        print(f"slicewise assess: context {again.context} {what}", file=sys.stderr)
    types = {node.instance_type for one in assessments for model in one.models for node in model.nodes}
    misspelled = prices.unknown(given, types)
    for kind in misspelled:
        print(f"slicewise assess: --price {kind}: no node is of that type; correct it", file=sys.stderr)
    if arguments.json:
        print(json.dumps([report.as_json(found) for found in assessments], indent=1))
    elif assessments:
        print(report.text(assessments))
    if arguments.write_policy and assessments:
        _write(arguments.write_policy, assessments[0])
    are_read = all(one.nodes_read and one.pods_read for one in assessments)
    return 2 if failed or misspelled or not are_read else 0


def once_each(
    found: Sequence[Assessment],
) -> tuple[list[Assessment], list[tuple[Assessment, Assessment]]]:
    """
    Each cluster by its first context, and those that repeat one, beside it.

    By their nodes: several contexts may reach a cluster by several addresses, and a proxy has one address
    for several clusters.
    """
    kept: list[Assessment] = []
    repeated: list[tuple[Assessment, Assessment]] = []
    for one in found:
        first = next((other for other in kept if other.node_uids & one.node_uids), None)
        if first:
            repeated.append((one, first))
        else:
            kept.append(one)
    return kept, repeated


def measured(found: ClusterListing, source: Source, now: datetime) -> Evidence:
    """Why it cannot be read goes into the assessment: the rest can still be reported."""
    if source.kind is MetricsSource.NONE:
        return NOTHING_MEASURED
    contents, groups = contents_of(found), groups_of(found)
    try:
        if source.recorded:
            then = datetime.fromtimestamp(recorded_series.newest(source.recorded), UTC)
            return evidence(source.recorded, source.kind.value, contents, groups, then)
        series = _gateway(found, source).read(found.cluster, now - source.span, now, STEP)
        return evidence(series, source.kind.value, contents, groups, now, source.endpoint)
    except (Refused, Unavailable) as error:
        return Evidence(source.kind.value, source.endpoint, trouble=str(error))


def _prices(choice: str, found: ClusterListing, given: Mapping[str, float]) -> tuple[Prices, tuple[str, ...]]:
    """With why they are not those that were asked for."""
    types = {node.instance_type for node in gpu_nodes(found.nodes or ()) if node.instance_type}

    def place() -> tuple[Session, str]:
        session = _session(found)
        return session, _region(found, session)

    return prices.read(choice, given, types, place)


def _session(found: ClusterListing) -> Session:
    """By the profile that the kubeconfig names, as its exec plugin has it; else by the environment's."""
    from botocore.exceptions import ProfileNotFound
    from botocore.session import Session

    session = Session(profile=found.profile or None)
    try:
        session.get_scoped_config()
    except ProfileNotFound as error:
        raise Refused(f"{error}. Add it to AWS's configuration, or correct AWS_PROFILE") from error
    return session


def _region(found: ClusterListing, session: Session) -> str:
    of_profile = session.get_scoped_config().get("region") if found.profile else ""
    of_environment = os.environ.get("AWS_REGION") or session.get_config_variable("region")
    region = found.region or of_profile or of_environment
    if not region:
        raise Refused("no Region is known: set AWS_REGION, or a profile with a region")
    return str(region)


def _gateway(found: ClusterListing, source: Source) -> Metrics:
    from slicewise.app import metrics_of

    session = _session(found)
    region = "" if source.kind is MetricsSource.PROMETHEUS else _region(found, session)
    return metrics_of(source.kind, source.endpoint, session, region)


def _source(arguments: argparse.Namespace) -> Source:
    span = _span(arguments.since)
    if arguments.recorded:
        return Source(MetricsSource.PROMETHEUS, recorded=recorded_series.read(arguments.recorded), span=span)
    if arguments.amp and "aps-workspaces" not in arguments.amp:
        shown = _without_user(arguments.amp)
        raise Refused(f"--amp {shown}: write a workspace's URL, or --prometheus for another server")
    if url := arguments.prometheus or arguments.amp:
        _check_url(url)
        return Source(MetricsSource.PROMETHEUS, url, span=span)
    if arguments.container_insights:
        is_otel = arguments.container_insights == "otel"
        kind = MetricsSource.CONTAINER_INSIGHTS_OTEL if is_otel else MetricsSource.CONTAINER_INSIGHTS
        return Source(kind, span=span)
    return Source(span=span)


def _check_url(text: str) -> None:
    """As a policy takes it, by the policy's own reader: the one that is suggested names it."""
    pools = {"l4": {"sharing": "none", "gpus": ["l4"], "maxGpus": 1}}
    metrics = {"source": MetricsSource.PROMETHEUS.value, "endpoint": text}
    try:
        parse(json.dumps({"pools": pools, "metrics": metrics}), "suggested")
        is_taken = "'" not in text and bool(urlsplit(text).hostname)
    except (InvalidPolicy, ValueError):
        is_taken = False
    if not is_taken:
        raise Refused(
            f"{_without_user(text)}: write an http or https URL that a function could reach, without user, "
            "query or fragment"
        )


def _without_user(url: str) -> str:
    """What is before an @ may be a password."""
    return "…@" + url.rpartition("@")[2] if "@" in url else url


def _span(text: str) -> timedelta:
    found = re.fullmatch(r"([0-9]{1,4})([dh])", text)
    span = timedelta(**{{"d": "days", "h": "hours"}[found[2]]: int(found[1])}) if found else timedelta(0)
    if not _LEAST <= span <= WINDOW:
        raise Refused(f"--since {text}: write 1d to {WINDOW // _DAY}d: the rules decide by at most a week")
    return span


def _zone(name: str) -> ZoneInfo:
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise Refused(f"--time-zone {name}: write an IANA name, such as Europe/Berlin") from error


def _given(texts: list[str]) -> dict[str, float]:
    try:
        return prices.given(texts)
    except ValueError as error:
        raise Refused(str(error)) from error


def _side_by_side(contexts: Sequence[str], one: Callable[[str], Assessment]) -> tuple[list[Assessment], int]:
    """In the order of the contexts; what cannot be read is reported, and the others are read."""
    with ThreadPoolExecutor(MOST_AT_ONCE) as pool:
        futures = [pool.submit(one, context) for context in contexts]
        with progress.shown(f"reading {contexts[0]}") if len(contexts) == 1 else nullcontext():
            _show_progress(futures)
            wait(futures)
    assessments = []
    for context, future in zip(contexts, futures, strict=True):
        try:
            assessments.append(future.result())
        except SlicewiseError as error:
            print(f"slicewise assess: {context}: {error}", file=sys.stderr)
        # What was read of the others must not be lost to a fault of ours.
        except Exception as error:
            what = f"it could not be assessed ({type(error).__name__}: {error}), which is a fault of assess"
            print(f"slicewise assess: {context}: {what}; report it.", file=sys.stderr)
    return assessments, len(contexts) - len(assessments)


def _show_progress(futures: Sequence[Future[Assessment]]) -> None:
    """A bar on a terminal, where several clusters are read and rich is installed."""
    if len(futures) < 2 or not sys.stderr.isatty():
        return
    try:
        from rich.console import Console
        from rich.progress import track
    except ModuleNotFoundError:
        return
    bar = track(
        as_completed(futures),
        "reading clusters",
        total=len(futures),
        console=Console(stderr=True),
        transient=True,
    )
    for _ in bar:
        pass


def _write(path: Path, found: Assessment) -> None:
    if not (found.nodes_read and found.pods_read):
        unread = "pods" if found.nodes_read else "nodes"
        raise Refused(
            f"The {unread} of context {found.context} were not read, so there is no policy to suggest: "
            f"{path} is not written. Ask for the rights that `slicewise assess --rights` prints."
        )
    if not policy_file.has_pools(found):
        raise Refused(
            f"No pod asks for a GPU that EC2 sells, so there is no policy to suggest: {path} is not written"
        )
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(policy_file.text(found))
    except FileExistsError as error:
        raise Refused(
            f"--write-policy {path} is there already. Move it away, or name another file."
        ) from error
    except OSError as error:
        raise Refused(f"--write-policy {path} cannot be written: {error}") from error
    print(f"wrote {path}; check it with: slicewise policy check {path}", file=sys.stderr)
