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
    ("guard_moves_per_day", "by guard", "{:.1f}"),
    ("of_foreseen", "× foreseen", "{:.2f}"),
    ("seeds_within_gates", "seeds ok", "{:.0f}"),
    ("regret", "regret", "{:.2f}"),
    ("short_pods", "short pods", "{:.0f}"),
    ("unpriced_nodes", "unpriced", "{:.0f}"),
    ("worst_pct", "worst error %", "{:.2f}"),
)


def cells(policies: dict[str, dict]) -> list[list[str]]:
    """The head and a line for each policy, with a column for each figure that any of them has."""
    columns = [c for c in COLUMNS if any(c[0] in row for row in policies.values())]
    head = ["policy", *(title for _, title, _ in columns)]
    body = [
        [name, *("" if row.get(key) is None else form.format(row[key]) for key, _, form in columns)]
        for name, row in policies.items()
    ]
    return [head, *body]


def as_text(policies: dict[str, dict]) -> str:
    lines = cells(policies)
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        (
            line[0].ljust(widths[0])
            + "".join("  " + cell.rjust(w) for cell, w in zip(line[1:], widths[1:], strict=True))
        ).rstrip()
        for line in lines
    )


def as_bars(figures: dict[str, float], width: int = 48) -> str:
    """The same chart as on the page, for a terminal."""
    top = max(figures.values(), default=0) or 1
    margin = max(map(len, figures), default=0)
    return "\n".join(
        f"{name.ljust(margin)}  {'█' * round(width * value / top)} {value:.1f}"
        for name, value in figures.items()
    )
