"""One HTML page with charts, from the results; no script, nothing loaded from elsewhere."""

from html import escape

from bench.tables import as_text

STYLE = (
    "body{font:16px/1.5 system-ui;max-width:64rem;margin:2rem auto;padding:0 1rem}"
    "pre{overflow:auto;background:#f4f4f2;padding:1rem;font-size:12px}"
)


def bars(title: str, figures: dict[str, float], highlight: tuple[str, ...] = ()) -> str:
    """A horizontal bar chart as SVG."""
    top = max(figures.values(), default=1) or 1
    rows = []
    for i, (name, value) in enumerate(figures.items()):
        y, colour = 30 + 24 * i, "#1d7a5f" if name in highlight else "#9aa5a1"
        rows.append(
            f'<text x="150" y="{y + 13}" text-anchor="end">{escape(name)}</text>'
            f'<rect x="158" y="{y}" width="{420 * value / top:.1f}" height="17" fill="{colour}"/>'
            f'<text x="{164 + 420 * value / top:.1f}" y="{y + 13}">{value:,.0f}</text>'
        )
    height = 40 + 24 * len(figures)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 680 {height}" font-family="system-ui" '
        f'font-size="12" role="img" aria-label="{escape(title)}"><text x="0" y="16" font-size="14">'
        f"{escape(title)}</text>{''.join(rows)}</svg>"
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
        parts.append(f"<h2>{escape(heading)}</h2>")
        gpus = {name: row["gpus"] for name, row in policies.items() if "gpus" in row}
        if gpus:
            parts.append(bars("GPUs", gpus, ("classes-daily", "packing-daily", "classes-5")))
        parts.append(f"<pre>{escape(as_text(policies))}</pre>")
    title = "<title>Slicewise bench</title>"
    head = f"<!doctype html><html lang=en><meta charset=utf-8>{title}<style>{STYLE}</style>"
    return f"{head}{''.join(parts)}</html>\n"
