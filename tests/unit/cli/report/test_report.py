"""`slicewise report`: what it prints and writes of what reconciles have recorded, and of bad input."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from slicewise.app import App
from slicewise.costs import text
from slicewise.costs.cents import cents, rounded
from slicewise.costs.day import NodeLife, PodLife, Roster, Use
from slicewise.costs.prices import Prices
from slicewise.costs.reckon import reckon
from slicewise.costs.tables import TEAM_LABELS
from slicewise.costs.tally import ClusterDays, Rates
from slicewise.costs.wastes import wastes
from slicewise.errors import Refused

from cli.main import main
from cli.report import focus
from cli.report.period import period
from cli.report.text import shown_cents
from tests.fakes.account import HOME, Account
from tests.support.costs.days import BEGIN, CHAT, L4, SINCE, UNTIL, example, random_days

NOW = datetime(2026, 11, 4, 9, 30, tzinfo=UTC)


def account(*clusters: ClusterDays) -> Account:
    found = Account()
    for cluster in clusters:
        for day in cluster.days:
            found.costs.kept[HOME.arn(cluster.name), day.begin] = text.dump(day)
    return found


def at_now(found: Account) -> Callable[[], App]:
    return lambda: replace(found.person(), clock=lambda: NOW)


@pytest.fixture(scope="module")
def recorded() -> Account:
    return account(example(), replace(example(), name="gpu-2"))


def printed(found: Account, capsys: pytest.CaptureFixture[str], *options: str, status: int = 0) -> str:
    assert main(["report", *options], find_app=at_now(found)) == status
    return capsys.readouterr().out


def told(found: Account, capsys: pytest.CaptureFixture[str], *options: str, status: int = 2) -> str:
    """What is on standard error."""
    assert main(["report", *options], find_app=at_now(found)) == status
    return capsys.readouterr().err


def test_it_says_what_was_saved_paid_held_and_wasted_and_what_changes_brought(recorded, capsys):
    found = printed(recorded, capsys, "gpu-1")

    assert "gpu-1: 2026-10-06 to 2026-11-04 09:30 UTC" in found
    assert "Saved $32.59, 67% of what would have been paid: sharing $28.17, nights $4.42." in found
    assert "Paid $16.10 for 20.0 GPU-hours, busy 20%" in found
    assert re.search(
        r"gpu-1 serving Deployment/chat +12\.5 +20% +2\.01 +8\.05 +0\.00 +0\.00 +10\.06 +14\.19", found
    )
    assert "1. $8.05 (50%): held and not used by serving/Deployment/chat of gpu-1, busy 20%" in found
    assert "2. $5.03 (31%): no pod held it: NodePool slicewise-shared-l4 of gpu-1" in found
    assert "2026-11-02 13:00  gpu-1 slicewise-shared-l4: N 2 to 4, $4.02 saved: memory allows 4" in found
    assert "Nights: 1, 5.5 node-hours, $4.43" in found
    assert "counts a slice as a whole GPU" in found


def test_without_a_name_it_is_of_all_clusters_that_have_costs(recorded, capsys):
    found = printed(recorded, capsys)

    assert "gpu-1, gpu-2: " in found and "Paid $32.19" in found


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--since", "yesterday"], "--since yesterday is no day. Write a number of days or weeks"),
        (["--since", "0d"], "--since 0d is no day at all"),
        (["--since", "2026-13-01"], "--since 2026-13-01 is no day"),
        (["--since", "2027-01-01"], "--since 2027-01-01 is in the future"),
        (["--until", "soon"], "--until soon is no day"),
        (["--since", "2026-11-03", "--until", "2026-11-02"], "is after --until 2026-11-02. Swap them"),
        (["--price", "g6.xlarge"], "--price g6.xlarge: write a type and dollars an hour"),
        (["--price", "g6.xlrge=1"], "--price g6.xlrge: no machine is of that type; correct it"),
        (["--csv", "/none/x.csv"], "--csv /none/x.csv cannot be written: No such file or directory. Name"),
        (["gpu-11"], "gpu-11: no costs are recorded of it. Did you mean gpu-1?"),
        (["zebra"], "zebra: no costs are recorded of it. Recorded are gpu-1, gpu-2."),
    ],
)
def test_bad_input_is_answered_with_one_sentence(recorded, capsys, options, message):
    found = told(recorded, capsys, *options)

    assert message in found and len(found.splitlines()) == 1


def test_the_other_clusters_are_reported_where_one_is_not_known(recorded, capsys):
    assert "Paid $16.10" in printed(recorded, capsys, "gpu-1", "gpu-9", status=2)


def test_where_nothing_is_recorded_yet_it_says_since_when_it_will_be(capsys):
    assert "No costs are recorded yet" in told(account(), capsys, status=1)
    assert "gpu-1: No costs are recorded yet" in told(account(), capsys, "gpu-1")


def test_a_table_that_may_not_be_read_is_said_with_the_right_that_it_takes(capsys):
    found = account(example())
    found.calls.refuse = {0: Refused("dynamodb:Query: not authorized")}

    assert "It takes dynamodb:Query on the table of Slicewise." in told(found, capsys)


def test_a_cluster_whose_days_cannot_be_read_does_not_keep_the_others_from_being_reported(capsys):
    found = account(example(), replace(example(), name="gpu-2"))
    found.calls.refuse = {1: Refused("no")}

    assert main(["report"], find_app=at_now(found)) == 2
    output = capsys.readouterr()
    assert "gpu-1: its costs could not be read: no" in output.err and "Paid $16.10" in output.out


def test_days_of_another_release_are_counted_out_loud(capsys):
    found = account(example())
    day = found.costs.kept[HOME.arn("gpu-1"), BEGIN]
    found.costs.kept[HOME.arn("gpu-1"), BEGIN - 86_400] = replace(day, day=BEGIN - 86_400, content=b"?")

    assert "gpu-1: 1 days were written by another release, and not read." in printed(found, capsys)


def test_it_goes_up_to_the_newest_reconcile_though_nothing_is_measured_so_far(capsys):
    known = example()
    half = replace(known.days[0], through=BEGIN + 18 * 3600)
    node, pod = "n", PodLife("n", CHAT, 2, BEGIN)
    nodes = {node: NodeLife("i-00", L4, BEGIN)}
    roster = Roster(BEGIN + 19 * 3600, nodes=nodes, pods={"serving/chat-0": pod})
    found = printed(account(replace(known, days=(replace(half, roster=roster),))), capsys)

    assert "Paid $16.90 for 21.0 GPU-hours" in found
    assert "gpu-1: from 2026-11-02 18:00 UTC on what pods used is not measured yet." in found


def test_where_nothing_was_measured_it_says_so(capsys):
    known = example()
    day = known.days[0]
    held = {hour: replace(one, use=Use()) for hour, one in day.hours[L4].items()}
    found = printed(account(replace(known, days=(replace(day, hours={L4: held}, workloads={}),))), capsys)

    assert "Paid $16.10 for 20.0 GPU-hours, nothing was measured." in found


def test_a_price_that_is_given_counts(recorded, capsys):
    found = printed(recorded, capsys, "gpu-1", "--price", "g6.xlarge=1")

    assert "Paid $20.00" in found and "on 2026-07-20, or as given" in found


def test_live_prices_are_asked_for_each_type_once(recorded, capsys, monkeypatch):
    asked = []

    def read(session, region, types):
        asked.append((region, sorted(types)))
        return {"g6.xlarge": 2.0}

    monkeypatch.setattr("cli.live_prices.read", read)

    assert "Paid $40.00" in printed(recorded, capsys, "gpu-1", "--prices", "live")
    assert asked == [(HOME.region, ["g6.xlarge"])]


def test_json_has_every_figure_exactly(recorded, capsys):
    found = json.loads(printed(recorded, capsys, "gpu-1", "--json"))

    total = found["total"]["total"]
    assert total["usd"] == {"number": 16.096, "exact": "2012/125"}
    parts = [
        Fraction(found["total"][name]["usd"]["exact"]) for name in ("used", "idle", "unmeasured", "free")
    ]
    assert sum(parts) == Fraction(total["usd"]["exact"])
    assert [one["what"] for one in found["wastes"]] == ["serving/Deployment/chat", L4.node_pool]
    assert found["slicewise_report"] == 1 and found["since"] == "2026-10-06T00:00:00+00:00"


def test_no_cell_is_a_formula_whatever_a_pod_says_that_its_owner_is_called():
    named = [
        CHAT._replace(kind=kind, name=name) for kind, name in (("=1+1", "@x"), ("Job", "-x"), ("+", "\t"))
    ]
    cluster = example()
    day = replace(cluster.days[0], workloads={L4: {one: Use(held=1000) for one in named}})

    rows = [*focus.focus_rows([replace(cluster, days=(day,))], Rates(Prices()), "111122223333")]

    texts = [one for row in rows for name, one in row.items() if not name.endswith("Cost")]
    assert not [one for one in texts if one.startswith(("=", "+", "-", "@", "\t", "\r"))]
    assert {("'=1+1", "'@x"), ("Job", "'-x")} < {(row["ResourceType"], row["ResourceName"]) for row in rows}


def test_csv_has_focus_columns_and_adds_up(recorded, capsys, tmp_path):
    printed(recorded, capsys, "--csv", str(tmp_path / "x.csv"))
    rows = list(csv.DictReader((tmp_path / "x.csv").open(encoding="utf-8")))

    assert sum(Fraction(row["EffectiveCost"]) for row in rows) == 2 * Fraction("16.096")
    assert len(rows) == 6 and set(rows[0]) == set(focus.COLUMNS)
    chat = next(row for row in rows if row["ResourceName"] == "chat")
    assert json.loads(chat["Tags"]) == {"app": "chat", "team": "assistants"}
    assert [chat[f"{one}PeriodStart"][:10] for one in ("Charge", "Billing")] == ["2026-11-02", "2026-11-01"]
    assert chat["BillingPeriodEnd"] == "2026-12-01T00:00:00Z"
    assert (chat["x_SlicewiseUsedCost"], chat["x_SlicewiseIdleCost"]) == ("2.012", "8.048")
    free = [row["ChargeDescription"] for row in rows if row["ResourceType"] == "Cluster"]
    assert free == ["GPUs that no pod held"] * 2


def test_html_is_written_as_one_page(recorded, capsys, tmp_path):
    printed(recorded, capsys, "--html", str(tmp_path / "x.html"))

    assert (tmp_path / "x.html").read_text(encoding="utf-8").startswith("<!doctype html>")


def test_a_bill_is_compared_and_what_is_none_is_said_beside_the_report(recorded, capsys, tmp_path):
    good, bad = tmp_path / "bill.csv", tmp_path / "bad.csv"
    columns = "ResourceId,ChargeCategory,EffectiveCost,ConsumedQuantity,BillingCurrency,SkuMeter,"
    begin, end = "2026-11-02T00:00:00Z", "2026-11-03T00:00:00Z"
    good.write_text(
        f"{columns}ChargePeriodStart,ChargePeriodEnd\n"
        f"i-0123456789abcdef0,Usage,24,24,USD,BoxUsage:g6.xlarge,{begin},{end}\n"
    )
    bad.write_text("a,b\n")

    found = printed(recorded, capsys, "gpu-1", "--bill", str(good))
    assert "Against the bill bill.csv (FOCUS 1.2): 0 instances alike, 3 not" in found
    assert re.search(r"i-0123456789abcdef0 +g6\.xlarge +- +24\.0 +- +24\.00", found)
    assert "no reconcile saw the instance" in found
    found = printed(recorded, capsys, "gpu-1", "--bill", str(bad))
    assert (
        "No bill is compared: --bill bad.csv has the columns of neither" in found and "Paid $16.10" in found
    )


@pytest.mark.parametrize(
    ("since", "until", "first", "end"),
    [
        ("1d", "", "2026-11-04T00:00", "2026-11-04T09:30"),
        ("2w", "", "2026-10-22T00:00", "2026-11-04T09:30"),
        ("2026-11-01", "2026-11-02", "2026-11-01T00:00", "2026-11-03T00:00"),
        ("2d", "2026-11-02", "2026-11-01T00:00", "2026-11-03T00:00"),
        ("2026-11-04", "2026-12-24", "2026-11-04T00:00", "2026-11-04T09:30"),
    ],
)
def test_a_report_is_of_whole_days_in_utc_up_to_now(since, until, first, end):
    found = period(since, until, NOW)

    assert [f"{one:%Y-%m-%dT%H:%M}" for one in found] == [first, end]


def test_more_rows_than_are_shown_are_summed(capsys):
    day = example().days[0]
    uses = day.workloads[L4]
    uses |= {CHAT._replace(name=f"chat-{place}"): replace(uses[CHAT], held=0, used=0) for place in range(14)}
    found = printed(account(replace(example(), days=(replace(day, workloads={L4: uses}),))), capsys)

    assert "and 5 more rows, 5.03 $ in all; --json and --csv have each" in found


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(random_days())
def test_the_cents_of_each_table_add_up_to_those_of_the_total(clusters):
    found = reckon(clusters, Prices(), SINCE, UNTIL)
    parts = cents([part.usd for part in found.total])

    for rows in (found.by_cluster, found.by_pool, found.by_namespace, found.by_team, found.by_workload):
        shown = shown_cents(rows)
        assert not rows or [sum(column) for column in zip(*shown, strict=True)] == parts
    assert sum(parts) == rounded(found.total.total.usd)


def test_wastes_are_the_largest_and_none_is_in_two():
    found = reckon([example()], Prices(), SINCE, UNTIL)

    assert sum(one.usd for one in wastes(found)) == found.total.waste.usd
    assert len(wastes(found, 1)) == 1


def test_the_usual_labels_of_a_team_are_those_that_the_page_names():
    page = (Path(__file__).parents[4] / "docs" / "savings.md").read_text(encoding="utf-8")

    assert [label for label in TEAM_LABELS if f"`{label}`" not in page] == []
