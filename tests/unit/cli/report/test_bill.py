"""A bill beside a report: both exports, by hand, with what bills have that an instance's price has not."""

from __future__ import annotations

import csv
import gzip
import sys
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import pytest
from slicewise.costs.prices import Prices
from slicewise.costs.report import BillCheck
from slicewise.costs.tally import ClusterDays, Rates
from slicewise.errors import Refused

from cli.report.bill import CUR, FOCUS
from cli.report.bill_check import check
from cli.report.bill_file import read_all
from tests.support.costs.days import BEGIN, WHOLE_L4, example

A, B, C = "i-0aaaaaaaa", "i-0bbbbbbbb", "i-0cccccccc"
ARN = f"arn:aws:ec2:eu-west-1:123456789012:instance/{A}"
REGIONS = frozenset({"eu-west-1"})
PRICE = Fraction("0.8048")


def focus(instance: str, hour: int, usd: str = "0.8048", **other: str) -> dict[str, str]:
    begin, end = (f"2026-11-0{2 + at // 24}T{at % 24:02}:00:00Z" for at in (hour, hour + 1))
    line = {
        "ResourceId": instance,
        "ChargeCategory": "Usage",
        "EffectiveCost": usd,
        "ConsumedQuantity": "1.0",
        "ConsumedUnit": "Hours",
        "BillingCurrency": "USD",
        "ChargePeriodStart": begin,
        "ChargePeriodEnd": end,
        "BillingPeriodStart": "2026-11-01T00:00:00Z",
        "SkuMeter": "EU-BoxUsage:g6.xlarge",
        "RegionId": "eu-west-1",
    }
    return line | other


def cur(instance: str, hour: int, usd: str = "0.8048", **other: str) -> dict[str, str]:
    line = {
        "line_item_resource_id": instance,
        "line_item_line_item_type": "Usage",
        "line_item_usage_type": "EU-BoxUsage:g6.xlarge",
        "line_item_usage_amount": "1",
        "line_item_unblended_cost": usd,
        "line_item_currency_code": "USD",
        "line_item_usage_start_date": f"2026-11-02 {hour:02}:00:00.000",
        "line_item_usage_end_date": f"2026-11-02 {hour + 1:02}:00:00",
        "bill_billing_period_start_date": "2026-11-01 00:00:00",
        "bill_billing_period_end_date": "2026-12-01 00:00:00",
        "bill_invoice_id": "1",
        "savings_plan_savings_plan_effective_cost": "",
        "reservation_effective_cost": "",
        "split_line_item_parent_resource_id": "",
    }
    return line | other


def covered(lines: list[dict[str, str]]) -> list[dict[str, str]]:
    """With the bucket that shows that the day's lines are all there."""
    return [*lines, focus("bucket", 23, SkuMeter="TimedStorage")]


def written(path: Path, lines: list[dict[str, str]]) -> Path:
    with path.open("w", newline="", encoding="utf-8") as file:
        rows = csv.DictWriter(file, list({name: 0 for line in lines for name in line}))
        rows.writeheader()
        rows.writerows(lines)
    return path


def recorded(**seconds: int) -> ClusterDays:
    known = example()
    instances = {{"a": A, "b": B, "c": C}[name]: (WHOLE_L4, one) for name, one in seconds.items()}
    return replace(known, days=(replace(known.days[0], instances=instances),))


def checked(lines: list[dict[str, str]], tmp_path: Path, *clusters: ClusterDays) -> BillCheck:
    bill = read_all([written(tmp_path / "bill.csv", lines)], REGIONS)
    return check(bill, clusters or (recorded(a=7200),), Rates(Prices()))


def test_the_same_instances_at_the_same_price_are_equal_whatever_names_them(tmp_path):
    found = checked(covered([focus(ARN, 8), focus(A, 9)]), tmp_path)

    assert (found.lines, found.equal, found.source) == ((), 1, "bill.csv (FOCUS 1.2)")
    assert found.currency == "USD"


def test_several_lines_an_instance_and_hour_add_up(tmp_path):
    halves = [focus(A, 8, "0.4024", ConsumedQuantity="0.5") for _ in range(4)]

    assert checked(covered(halves), tmp_path).equal == 1


def test_differences_are_listed_the_largest_first(tmp_path):
    lines = covered([focus(A, 8), *(focus(C, hour) for hour in range(3)), focus(B, 8, "1.6096")])
    found = checked(lines, tmp_path, recorded(a=7200, b=3600))

    assert [line.instance for line in found.lines] == [C, A, B] or [
        line.instance for line in found.lines
    ] == [C, B, A]
    unseen = found.lines[0]
    assert (unseen.seen_hours, unseen.seen_usd) == (None, None)
    assert (unseen.billed_hours, unseen.billed_usd, unseen.instance_type) == (3, 3 * PRICE, "g6.xlarge")


def test_an_instance_that_the_bill_lacks_is_listed(tmp_path):
    found = checked(covered([focus(A, 8), focus(A, 9)]), tmp_path, recorded(a=7200, b=3600))

    assert [(line.instance, line.billed_hours, line.seen_usd) for line in found.lines] == [(B, None, PRICE)]


def test_half_an_hour_is_as_far_as_reconciles_can_be_off(tmp_path):
    def lines(seconds: int) -> int:
        return len(checked(covered([focus(A, 8)]), tmp_path, recorded(a=3600 + seconds)).lines)

    assert (lines(1800), lines(1801), lines(-1801)) == (0, 1, 1)


def test_machines_without_gpus_are_no_difference(tmp_path):
    found = checked(covered([focus(A, 8), focus(A, 9), focus(B, 8, SkuMeter="BoxUsage:m7i.large")]), tmp_path)

    assert (found.lines, found.equal) == ((), 1)


@pytest.mark.parametrize(
    ("other", "note"),
    [
        ({"ChargeCategory": "Credit", "EffectiveCost": "-3"}, "1 Credit lines, -3.00 USD in all"),
        ({"ChargeCategory": "Tax", "EffectiveCost": "2"}, "1 Tax lines, 2.00 USD in all"),
        ({"ChargeClass": "Correction", "EffectiveCost": "1"}, "1 corrections of earlier bills, 1.00 USD"),
        ({"RegionId": "us-east-1"}, "1 lines of other Regions"),
        ({"SkuMeter": "EU-DataTransfer-Out-Bytes"}, "2 lines of other services and resources"),
        ({"SkuMeter": "EU-EBSOptimized:g6.xlarge"}, "2 lines of other services and resources"),
        ({"SkuMeter": "", "ConsumedUnit": "GB"}, "2 lines of other services and resources"),
        ({"ChargePeriodEnd": "2026-12-01T00:00:00Z"}, "1 lines of more than a day. Export it by hour"),
        ({"EffectiveCost": "a lot"}, "line 4: EffectiveCost is 'a lot', which is no number"),
        ({"ChargePeriodStart": "soon"}, "line 4: ChargePeriodStart is 'soon', which is no time"),
    ],
)
def test_what_is_no_charge_of_an_instance_is_left_out_and_said(tmp_path, other, note):
    found = checked(covered([focus(A, 8), focus(A, 9), focus(A, 10, **other)]), tmp_path)

    assert (found.lines, found.equal) == ((), 1)
    assert any(note in one for one in found.notes), found.notes


@pytest.mark.parametrize(
    "names",
    [
        {"SkuMeter": "", "x_UsageType": "EUW1-SpotUsage:g6.xlarge"},
        {"SkuMeter": "", "SkuPriceDetails": '{"InstanceType": "g6.xlarge"}'},
        {
            "SkuMeter": "",
            "SkuPriceDetails": "{",
            "ChargeDescription": "$0.8 per Linux g6.xlarge Hour",
        },
    ],
)
def test_the_type_of_an_instance_that_was_never_seen_is_read_from_what_names_it(tmp_path, names):
    found = checked(covered([focus(A, 8), focus(A, 9), focus(C, 8, **names)]), tmp_path)

    assert [(line.instance, line.instance_type) for line in found.lines] == [(C, "g6.xlarge")]


def test_another_currency_leaves_hours_to_compare(tmp_path):
    found = checked(
        covered([focus(A, 8, "9", BillingCurrency="EUR"), focus(C, 8, BillingCurrency="EUR")]), tmp_path
    )

    assert found.currency == "EUR"
    assert [(line.instance, line.billed_hours, line.billed_usd) for line in found.lines] == [
        (A, 1, None),
        (C, 1, None),
    ]
    assert any("hours are compared and dollars are not" in one for one in found.notes)


def test_days_that_either_has_in_part_are_not_compared(tmp_path):
    half_a_day = [focus(A, 8), focus(A, 9)]
    fee = focus("", 8, SkuMeter="Fee", ChargePeriodEnd="2026-12-01T00:00:00Z")
    assert "No day is whole" in checked([*half_a_day, fee], tmp_path).notes[0]

    known = recorded(a=7200)
    second = replace(known.days[0], begin=BEGIN + 86_400, since=BEGIN + 86_400, through=BEGIN + 90_000)
    next_day = {"ChargePeriodStart": "2026-11-03T23:00:00Z", "ChargePeriodEnd": "2026-11-04T00:00:00Z"}
    lines = [*half_a_day, focus(A, 23, **next_day)]
    found = checked(lines, tmp_path, replace(known, days=(known.days[0], second)))
    assert found.equal == 1
    assert found.notes[0].startswith("Compared are the 1 of 2 days that both have whole, 2026-11-02")


def test_a_month_between_two_bills_is_in_neither(tmp_path):
    def of(month: int) -> dict[str, str]:
        first = f"2026-{month}-01T0"
        times = {"ChargePeriodStart": f"{first}0:00:00Z", "ChargePeriodEnd": f"{first}1:00:00Z"}
        return focus(C, 0, BillingPeriodStart=f"{first}0:00:00Z", **times)

    found = checked([of(10), of(12)], tmp_path)

    assert (found.lines, found.equal) == ((), 0)
    assert found.notes[0].startswith("No day is whole in both the bill and the report")


def test_a_month_with_an_invoice_has_all_its_lines(tmp_path):
    end = {"BillingPeriodEnd": "2026-12-01T00:00:00Z", "InvoiceId": "1"}

    assert checked([focus(A, 8, **end), focus(A, 9)], tmp_path).equal == 1


def test_a_cur_has_the_effective_cost_of_savings_plans_and_reservations(tmp_path):
    plan = {
        "line_item_line_item_type": "SavingsPlanCoveredUsage",
        "savings_plan_savings_plan_effective_cost": "0.8048",
    }
    reserved = {"line_item_line_item_type": "DiscountedUsage", "reservation_effective_cost": "0.8048"}
    negation = {"line_item_line_item_type": "SavingsPlanNegation"}
    pod = {"split_line_item_parent_resource_id": A}
    lines = [
        cur(A, 8, "1.1", **plan),
        cur(A, 8, "-1.1", **negation),
        cur(A, 9, "0", **reserved),
        cur("arn:aws:eks:eu-west-1:1:pod/gpu-1/serving/chat-0/1", 9, **pod),
        cur(A, 9, "-5", line_item_line_item_type="Credit"),
    ]
    found = checked(lines, tmp_path)

    assert (found.lines, found.equal, found.source) == ((), 1, "bill.csv (CUR 2.0)")
    assert any("1 lines of split cost allocation" in one for one in found.notes)
    assert any("1 Credit lines, -5.00 USD in all" in one for one in found.notes)
    assert not any("Negation" in one for one in found.notes), "a plan's own cost takes its place"


def test_a_cur_without_the_column_that_it_takes_says_so(tmp_path):
    lines = [cur(A, 8), cur(A, 9), cur(A, 10, line_item_line_item_type="SavingsPlanCoveredUsage")]

    [note] = [one for one in checked(lines, tmp_path).notes if "SavingsPlan" in one]
    assert "without savings_plan_savings_plan_effective_cost, a column that the export lacks" in note


def test_private_discounts_count(tmp_path):
    lines = [cur(A, hour, "9", line_item_net_unblended_cost="0.8048") for hour in (8, 9)]

    assert checked(lines, tmp_path).equal == 1


def test_compressed_files_and_parquet_say_the_same(tmp_path):
    lines = covered([focus(A, 8), focus(A, 9)])
    plain = written(tmp_path / "a.csv", lines)
    (tmp_path / "a.csv.gz").write_bytes(gzip.compress(plain.read_bytes()))
    arrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    table = arrow.Table.from_pylist(lines)
    number = table.schema.get_field_index("EffectiveCost")
    table = table.set_column(number, "EffectiveCost", table["EffectiveCost"].cast(arrow.float64()))
    parquet.write_table(table, tmp_path / "a.parquet")

    for name in ("a.csv", "a.csv.gz", "a.parquet"):
        assert read_all([tmp_path / name], REGIONS).days == read_all([plain], REGIONS).days, name


def test_several_files_of_a_bill_are_one(tmp_path):
    one, other = (
        written(tmp_path / "1.csv", [focus(A, 8)]),
        written(tmp_path / "2.csv", covered([focus(A, 9)])),
    )
    found = check(read_all([one, other], REGIONS), [recorded(a=7200)], Rates(Prices()))

    assert (found.equal, found.source) == (1, "1.csv (FOCUS 1.2), 2.csv (FOCUS 1.2)")


def refused(path: Path, content: bytes) -> str:
    path.write_bytes(content)
    with pytest.raises(Refused) as error:
        read_all([path], REGIONS)
    return str(error.value)


def test_what_is_no_bill_is_refused_with_what_to_export(tmp_path):
    path, columns = tmp_path / "x.csv", [name for name in FOCUS.needed if name != "EffectiveCost"]

    assert "neither FOCUS 1.2 nor CUR 2.0" in refused(path, b"a,b\n1,2\n")
    assert "neither FOCUS 1.2 nor CUR 2.0" in refused(path, b"")
    assert "legacy CUR" in refused(path, b"identity/LineItemId,lineItem/ResourceId\n")
    assert "is FOCUS 1.2 without EffectiveCost. Export" in refused(path, ",".join(columns).encode())
    assert "neither CSV nor Parquet" in refused(path, b"\xff\xfe\x00a")
    assert "no Parquet file" in refused(path, b"PAR1 and no more")
    assert "cannot be read" in refused(path, b"\x1f\x8b not gzip")
    broken = gzip.compress(b"a" * 90_000)
    assert "neither CSV nor Parquet" in refused(path, broken[:-20])
    assert "neither CSV nor Parquet" in refused(path, broken[:20] + b"?" * 20)
    with pytest.raises(Refused, match=r"No such file or directory\. Name another"):
        read_all([tmp_path / "none.csv"], REGIONS)


def test_files_of_two_formats_would_count_twice_and_are_refused(tmp_path):
    one, other = written(tmp_path / "1.csv", [focus(A, 8)]), written(tmp_path / "2.csv", [cur(A, 8)])

    with pytest.raises(Refused, match=r"2\.csv is CUR 2\.0, and 1\.csv \(FOCUS 1\.2\) is not"):
        read_all([one, other], REGIONS)


def test_parquet_without_pyarrow_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)

    assert "pip install '.[bill]'" in refused(tmp_path / "x.parquet", b"PAR1")


def test_a_format_needs_the_columns_of_a_line_s_period():
    assert [one.name for one in (FOCUS, CUR) if not set(one.period) <= set(one.needed)] == []
