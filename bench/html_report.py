"""One HTML page with charts, from the results; no script, nothing loaded from elsewhere."""

from html import escape

from bench.tables import cells

STYLE = (
    "body{font:16px/1.5 system-ui,sans-serif;color:#222;max-width:70rem;margin:2rem auto;padding:0 1rem}"
    "h2{margin-top:3rem}figure{margin:1rem 0}svg{width:100%;max-width:48rem}"
    ".wide{overflow-x:auto}table{border-collapse:collapse;font-size:13px;font-variant-numeric:tabular-nums}"
    "th,td{padding:.25rem .45rem;text-align:right;white-space:nowrap;border-bottom:1px solid #e3e3e0}"
    "th:first-child,td:first-child{text-align:left}tr.ours{background:#e8f3ef}"
)
OURS = ("classes-daily", "packing-daily", "packing-static", "classes-5")
# What the chart shows, where that is not GPUs.
CHARTED = {"dollars": ("usd_a_week", "$ a week")}
HEADINGS = {
    "serving": ("Two weeks of LLM serving", "Learnt from the first week, scored on the second, day by day."),
    "serving, load_1.3": (
        "The same with 30 % more load",
        "The scored week has 1.3 times its load, all at once.",
    ),
    "serving, weeks_exchanged": ("The weeks exchanged", "Learnt from the second week, scored on the first."),
    "memory": (
        "Memory that grows, on cards of 24 GiB",
        "Decided on a quiet week, scored on a busy one. Foreseen: with the peaks of the coming day known.",
    ),
    "requests": (
        "Pods that ask for a part of a GPU",
        "Nobody gets less than he asked for when time is shared equally.",
    ),
    "dollars": (
        "The same pods in dollars",
        "On the cheapest EC2 types with enough GPU, vCPU and RAM for the pods of each GPU.",
    ),
    "calibration": (
        "How well the slowdown models meet measurements",
        "Against the published table of nos: seconds an inference of pods that share an A100.",
    ),
    "sensitivity": (
        "What hangs on each constant",
        "±25 % of one, the others as shipped; two seeds, one order.",
    ),
}


def bars(
    title: str, figures: dict[str, float], highlight: tuple[str, ...] = (), broken: tuple[str, ...] = ()
) -> str:
    """A horizontal bar chart as SVG; `broken` are pale, for what does not keep the promise."""
    top = max(figures.values(), default=1) or 1
    rows = []
    for i, (name, value) in enumerate(figures.items()):
        y, length = 30 + 24 * i, 420 * value / top
        colour = "#1d7a5f" if name in highlight else "#8a9592"
        opacity = ' fill-opacity="0.35"' if name in broken else ""
        rows.append(
            f'<text x="150" y="{y + 13}" text-anchor="end">{escape(name)}</text>'
            f'<rect x="158" y="{y}" width="{length:.1f}" height="17" fill="{colour}"{opacity}/>'
            f'<text x="{164 + length:.1f}" y="{y + 13}">{value:,.0f}</text>'
        )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 680 {40 + 24 * len(figures)}" '
        f'font-family="system-ui,sans-serif" font-size="12" role="img" aria-label="{escape(title)}">'
        f'<text x="0" y="16" font-size="14">{escape(title)}</text>{"".join(rows)}</svg>'
    )


def page(results: dict[str, dict]) -> str:
    """
    Args:
        results: Tables by heading, each a mapping of policies to figures.
    """
    parts = [
        "<h1>What sharing GPUs saves, and what it costs</h1>",
        "<p>Each rule decides on the past only; the days after it are scored. A rule is worth having "
        "when no pod risks its memory and GPUs are contended at most 1 % of their time.</p>",
    ]
    for heading, policies in results.items():
        title, message = HEADINGS.get(heading, (heading, ""))
        parts += [f"<h2>{escape(title)}</h2>", f"<p>{escape(message)}</p>" if message else ""]
        if heading != "sensitivity":
            parts.append(_chart(policies, *CHARTED.get(heading, ("gpus", "GPUs"))))
        parts.append(_table(policies))
    title = "<title>Slicewise bench</title>"
    head = f"<!doctype html><html lang=en><meta charset=utf-8>{title}<style>{STYLE}</style>"
    return f"{head}{''.join(parts)}</html>\n"


def _chart(policies: dict[str, dict], figure: str, title: str) -> str:
    figures = {name: row[figure] for name, row in policies.items() if figure in row}
    if not figures:
        return ""
    broken = tuple(
        name
        for name, row in policies.items()
        if row.get("seeds_within_gates", row.get("seeds")) != row.get("seeds")
    )
    key = "Green: ours. Pale: breaks a gate on some seed." if broken else "Green: ours."
    return (
        f"<figure>{bars(title, figures, OURS, broken)}<figcaption><small>{key}</small></figcaption></figure>"
    )


def _table(policies: dict[str, dict]) -> str:
    head, *body = cells(policies)
    rows = [f"<tr>{''.join(f'<th>{escape(cell)}</th>' for cell in head)}</tr>"]
    for line in body:
        mark = ' class="ours"' if line[0] in OURS else ""
        rows.append(f"<tr{mark}>{''.join(f'<td>{escape(cell)}</td>' for cell in line)}</tr>")
    return f'<div class="wide"><table>{"".join(rows)}</table></div>'
