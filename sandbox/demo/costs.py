"""The demo's last chapter: what all of it cost, who held it and what was saved, as people can send it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from fractions import Fraction
from pathlib import Path
from typing import Any

from sandbox.demo.launch_log import LaunchLog
from sandbox.demo.narrator import Narrator
from sandbox.demo.steps import wait
from sandbox.system import System

TITLE = "What it cost, and what was saved"
PROMISED = ("report-adds-up", "report-stands-alone")
CLUSTERS = ("gpu-1", "gpu-2")
# Dollars an hour on demand in us-east-1 on 2026-07-20, by AWS's own list.
PRICES = {"g6.xlarge": Fraction("0.8048")}
_PARTS = ("used", "idle", "unmeasured", "free")


def show(story: Narrator, system: System, launches: LaunchLog, page: Path) -> None:
    """`page` is where the report is written."""
    story.show(
        """Each reconcile of tuning counts which machines there are, who holds their slices, and what of that
        is used. `slicewise report` makes a page of it that stands alone. Of ten minutes it says little; of a
        month it says what to tell a manager."""
    )
    before = {name: _tuned_at(system, name) for name in CLUSTERS}
    for name in CLUSTERS:
        body = {"slicewise": 1, "cluster": name, "reason": "requested by hand"}
        system.send_message("TuningQueueUrl", body)
    wait(
        story,
        lambda: all(_tuned_at(system, name) > at for name, at in before.items()),
        "Slicewise has reconciled both clusters once more",
    )
    page.parent.mkdir(parents=True, exist_ok=True)
    for line in _command(system, "--html", str(page))[:14]:
        story.quote(line)
    report = json.loads("\n".join(_command(system, "--json")))
    _adds_up(story, report)
    for name in CLUSTERS:
        _beside_launches(story, report, launches, name)
    _stands_alone(story, page)


def _tuned_at(system: System, name: str) -> str:
    """When the newest reconcile of tuning ended, ISO 8601."""
    return str((system.record(name, "tuning") or {}).get("at", ""))


def _adds_up(story: Narrator, report: Mapping[str, Any]) -> None:
    """By this machine's own sums, of exact fractions."""
    machines = report["by_machine"]
    parts = sum((_usd(row["parts"][part]) for row in machines for part in _PARTS), Fraction(0))
    story.claim(
        "report-adds-up",
        f"used, idle, unmeasured and free add up to ${float(parts):.4f}: all machine-hours at their price",
        expected={"machine types": sorted(PRICES), "by price": str(_by_price(machines)), "paid": True},
        observed={
            "machine types": sorted({row["key"][2] for row in machines}),
            "by price": str(parts),
            "paid": _usd(report["total"]["total"]) == parts > 0,
        },
    )


def _by_price(machines: list[Mapping[str, Any]]) -> Fraction:
    """Each has one GPU, so that its GPU-hours are the machine's."""
    hours = [(row["key"][2], row["parts"]["total"]["gpu_hours"]) for row in machines]
    return sum((PRICES.get(kind, Fraction(0)) * _exact(number) for kind, number in hours), Fraction(0))


def _beside_launches(story: Narrator, report: Mapping[str, Any], launches: LaunchLog, name: str) -> None:
    since = datetime.fromisoformat(report["counted_since"][name]).timestamp()
    until = datetime.now(UTC).timestamp()
    log = launches.of(name, since)
    seen, there = report["machine_seconds"][name] / 3600, sum(one.hours(until) for one in log)
    story.saw(
        f"{name}: the report counts {seen:.3f} machine-hours; the launches that were watched from beside, "
        f"{len(log)} machines since it counts, make {there:.3f} ({(seen / there - 1) if there else 0:+.1%})"
    )


def _stands_alone(story: Narrator, page: Path) -> None:
    text = page.read_text()
    elsewhere = [one for one in ('src="', "@import", "url(http", 'href="http') if one in text]
    story.claim(
        "report-stands-alone",
        f"one page without anything from elsewhere, {len(text) // 1024} KB: {_shown(page)}",
        expected={"is a page": True, "loads": []},
        observed={"is a page": text.lower().startswith("<!doctype html>"), "loads": elsewhere},
    )


def _shown(page: Path) -> str:
    """From where the demo was started, since people will open it."""
    return str(page.relative_to(Path.cwd())) if page.is_relative_to(Path.cwd()) else str(page)


def _usd(cost: Mapping[str, Any]) -> Fraction:
    return _exact(cost["usd"])


def _exact(number: Mapping[str, Any]) -> Fraction:
    return Fraction(number["exact"])


def _command(system: System, *options: str) -> list[str]:
    """What `slicewise report` prints, of all clusters."""
    done = system.slicewise("report", *options)
    return (done.stdout or done.stderr).splitlines()
