"""Results as text for a terminal."""

COLUMNS = (
    ("gpus", "GPUs", "{:.1f}"),
    ("usd_a_week", "$/week", "{:,.0f}"),
    ("contended_pct", "contended %", "{:.2f}"),
    ("contended_pct_max_seed", "worst seed", "{:.2f}"),
    ("oom_pods", "memory risk", "{:.0f}"),
    ("slowdown_mean", "slow mean", "{:.3f}"),
    ("slowdown_p99", "p99", "{:.2f}"),
    ("slower_than_1.5_pct", ">1.5× %", "{:.1f}"),
    ("moves_per_day", "moves/day", "{:.1f}"),
    ("seeds_within_gates", "seeds ok", "{:.0f}"),
    ("regret", "regret", "{:.2f}"),
    ("short_pods", "short pods", "{:.0f}"),
    ("unpriced_nodes", "unpriced", "{:.0f}"),
    ("worst_pct", "worst error %", "{:.2f}"),
)


def as_text(policies: dict[str, dict]) -> str:
    """A column for each figure that any policy has."""
    columns = [c for c in COLUMNS if any(c[0] in row for row in policies.values())]
    head = ["policy", *(title for _, title, _ in columns)]
    body = [
        [name, *("" if row.get(key) is None else form.format(row[key]) for key, _, form in columns)]
        for name, row in policies.items()
    ]
    widths = [max(len(line[i]) for line in [head, *body]) for i in range(len(head))]
    return "\n".join(
        line[0].ljust(widths[0])
        + "".join("  " + cell.rjust(w) for cell, w in zip(line[1:], widths[1:], strict=True))
        for line in [head, *body]
    )


def as_bars(figures: dict[str, float], width: int = 48) -> str:
    """The same chart as on the page, for a terminal."""
    top = max(figures.values(), default=0) or 1
    margin = max(map(len, figures), default=0)
    return "\n".join(
        f"{name.ljust(margin)}  {'█' * round(width * value / top)} {value:.1f}"
        for name, value in figures.items()
    )
