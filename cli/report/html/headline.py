"""What was saved and what was paid, at the top of the page."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from fractions import Fraction

from slicewise.costs.cents import cents
from slicewise.costs.report import Report

from cli.report.figures import dollars, hours, round_dollars, share, usd
from cli.report.html import formulas
from cli.report.html.breakdown import total_cents
from cli.report.html.charts import Bar, bars, legend
from cli.report.html.markup import NOTHING, Markup, join, tag
from cli.report.html.section import section
from cli.report.html.tables import explained
from cli.report.html.unit import GPU_HOURS, unit_of

# What a dollar went to, where it did not run work.
_WENT_TO = {
    "idle": "GPUs that pods held and did not use",
    "free": "GPUs that no pod held",
    "unmeasured": "GPUs whose use was not measured",
}


def hero(report: Report) -> Markup:
    return tag(
        "div",
        tag(
            "div",
            _label(report),
            _figure(report),
            _range(report),
            tag("p", meaning(report), class_="meaning"),
        ),
        tag("dl", _facts(report), class_="facts"),
        class_="hero",
    )


def _label(report: Report) -> Markup:
    if unit_of(report) is GPU_HOURS:
        return tag("p", "GPU-hours saved by sharing: no machine has a known price", class_="hero-label")
    saved = "Saved by sharing GPUs and by sleeping when they are not needed"
    more = "More than whole GPUs that never sleep would have cost"
    return tag("p", more if report.headline.value < 0 else saved, class_="hero-label")


def _figure(report: Report) -> Markup:
    sharing, nights = saved_cents(report)
    formula = f"{formulas.SAVED} {usd(sharing)} + {usd(nights)} = {usd(sharing + nights)}."
    text = round_dollars(abs(report.headline.value))
    if unit_of(report) is GPU_HOURS:
        text, formula = hours(_hours_saved(report)), f"{formulas.SHARING} {_less(report)}"
    return tag("p", explained(text, formula, "headline"), class_="hero-figure")


def _hours_saved(report: Report) -> Fraction:
    return report.whole.gpu_hours - report.total.total.gpu_hours


def _range(report: Report) -> Markup:
    """The uncertainty in words."""
    headline, part = report.headline, report.headline_share
    if unit_of(report) is GPU_HOURS:
        whole = report.whole.gpu_hours
        saved = share(_hours_saved(report) / whole if whole else None)
        return tag("p", f"{saved} of what whole GPUs would have been.", class_="hero-label")
    if headline.least == headline.most:
        return tag("p", f"{share(part.value)} of what would have been paid.", class_="hero-label")
    return tag(
        "p",
        f"Between {round_dollars(headline.least)} and {round_dollars(headline.most)}: "
        f"{share(part.least)} to {share(part.most)} of what would have been paid.",
        class_="hero-label",
    )


def meaning(report: Report) -> str:
    """One sentence of what became of a dollar."""
    total = report.total.total.usd
    if not total:
        return "What that cost is not known." if unit_of(report) is GPU_HOURS else "Nothing was paid for."
    names = [name for name in ("used", *_WENT_TO) if getattr(report.total, name).usd]
    shown = cents([getattr(report.total, name).usd / total for name in names])
    return f"Of each dollar paid, {_listed(list(_went(names, shown)))}."


def _went(names: Sequence[str], shown: Sequence[int]) -> Iterator[str]:
    verb = "went to "
    for name, share_of_dollar in zip(names, shown, strict=True):
        if name == "used":
            yield f"{share_of_dollar} ¢ ran work"
            continue
        yield f"{share_of_dollar} ¢ {verb}{_WENT_TO[name]}"
        verb = "to "


def _listed(texts: list[str]) -> str:
    return " and ".join([", ".join(texts[:-1]), texts[-1]] if len(texts) > 1 else texts)


def _facts(report: Report) -> Iterator[Markup]:
    total = report.total
    unit = unit_of(report)
    wasted, everything = unit.of(total.waste), unit.of(total.total)
    of_all = f"{formulas.WASTE} {unit.text(wasted)} of {unit.text(everything)}."
    yield _fact("Paid", join(at_least(report), dollars(total.total.usd)), formulas.PAID, "paid")
    yield _fact("Waste", share(wasted / everything if everything else None), of_all, "waste")
    yield _fact("Busy, as far as measured", _measured(report.busy), formulas.BUSY, "busy")
    yield _fact("GPU memory used", _measured(report.memory), formulas.MEMORY, "memory")


def _measured(value: float | None) -> str:
    return "not measured" if value is None else share(value)


def _fact(title: str, text: str, formula: str, key: str) -> Markup:
    return tag("div", tag("dt", title), tag("dd", explained(text, formula, f"fact-{key}")))


def at_least(report: Report) -> str:
    return "at least " if report.unpriced else ""


def comparison(report: Report) -> Markup:
    """What was paid, between what whole GPUs would have cost and what no placement could go below."""
    lede = (
        "What was paid, beside what the same pods would have cost with a whole GPU each and awake at night."
    )
    chart = tag("figure", parts_legend(report), bars(list(_bars(report))))
    words = [] if unit_of(report) is GPU_HOURS else [_sums(report), _uncertainty(report)]
    return section("saved", "What was saved", lede, chart, *words)


def parts_legend(report: Report) -> Markup:
    """What was paid by its parts, and what was saved: figures that add up to those of the page."""
    unit = unit_of(report)
    if unit is GPU_HOURS:
        texts = {name: unit.text(part.gpu_hours) for name, part in report.total._asdict().items()}
        return legend({**texts, "saved": unit.text(_hours_saved(report))})
    sharing, nights = saved_cents(report)
    parts = dict(zip(report.total._fields, total_cents(report.total), strict=True))
    shown = {**parts, "saved": sharing, **({"asleep": nights} if nights else {})}
    return legend({name: usd(amount) for name, amount in shown.items()})


def _bars(report: Report) -> Iterator[Bar]:
    unit = unit_of(report)
    paid = unit.of(report.total.total)
    sharing, nights = (_hours_saved(report), Fraction(0)) if unit is GPU_HOURS else _saved_usd(report)
    whole = paid + sharing + nights
    without = [("plain", min(paid, whole)), ("saved", sharing), ("asleep", nights)]
    parts = [(name, unit.of(part)) for name, part in report.total._asdict().items()]
    bound = unit.of(report.bound)
    yield _bar("Whole GPUs, never asleep", unit.text(whole), formulas.WHOLE, "without", without)
    yield _bar("Paid", unit.text(paid), formulas.PAID, "bar-paid", parts)
    yield _bar("Lower bound, by any placement", unit.text(bound), formulas.BOUND, "bound", [("plain", bound)])


def _saved_usd(report: Report) -> tuple[Fraction, Fraction]:
    return report.sharing.value, report.nights_usd


def _bar(label: str, text: str, formula: str, key: str, parts: list[tuple[str, Fraction]]) -> Bar:
    lengths = [(name, max(float(part), 0.0)) for name, part in parts]
    return Bar(label, explained(text, formula, key), lengths)


def _sums(report: Report) -> Markup:
    """The headline as a sum whose shown cents add up."""
    sharing, nights = saved_cents(report)
    return tag(
        "p",
        "Saved: ",
        explained(usd(sharing), f"{formulas.SHARING} {_less(report)}", "sharing"),
        " by sharing + ",
        explained(usd(nights), formulas.NIGHTS, "nights"),
        f" by sleeping = {usd(sharing + nights)}, ",
        explained(share(report.headline_share.value), formulas.SAVED_SHARE, "share"),
        " of what would have been paid.",
        class_="sum",
    )


def saved_cents(report: Report) -> list[int]:
    """By sharing, and by sleeping: the same in each place, and in all the headline."""
    return cents([report.sharing.value, report.nights_usd])


def _less(report: Report) -> str:
    unit = unit_of(report)
    return f"{unit.text(unit.of(report.whole))} − {unit.text(unit.of(report.total.total))}."


def _uncertainty(report: Report) -> Markup:
    sharing = report.sharing
    if sharing.least == sharing.most:
        return NOTHING
    text = (
        f"By sharing at least {dollars(sharing.least)}, at most {dollars(sharing.most)}: the notes say why."
    )
    return tag("p", text, class_="note")
