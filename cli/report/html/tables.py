"""Tables of the page: they sort, scroll in a box of their own, and say how each column is reckoned."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from cli.report.html.markup import NOTHING, Child, Markup, join, tag

# Beyond it a page gets slow to open; --csv has every row.
MOST_ROWS = 200


@dataclass(frozen=True)
class Column:
    """`formula` shows on hover and on focus; a column of figures is aligned right, and sorts from the top."""

    key: str
    title: str
    formula: str = ""
    is_figure: bool = True


@dataclass(frozen=True)
class Cell:
    """`value` is what it sorts by, where that is not its text."""

    content: Child
    value: float | None = None


@dataclass(frozen=True)
class Body:
    """Rows, each with a cell a column, of which the first names the row; `foot` stays at the bottom."""

    rows: Sequence[Sequence[Cell]]
    foot: Sequence[Sequence[Cell]] = ()


def explained(text: Child, formula: str, key: str) -> Markup:
    """A figure whose formula shows on hover and on focus, without a script."""
    button = tag("button", text, type="button", class_="figure", aria_describedby=f"formula-{key}")
    return join(button, tag("span", formula, role="tooltip", id=f"formula-{key}", class_="formula"))


def sortable(
    key: str, caption: str, columns: Sequence[Column], body: Body, sorted_by: str | None = None
) -> Markup:
    """
    Args:
        sorted_by: Key of the column by which rows come already, the largest first.
    """
    heads = [_head(key, column, column.key == sorted_by) for column in columns]
    table = tag(
        "table",
        tag("caption", caption, id=f"{key}-caption"),
        tag("thead", tag("tr", heads)),
        tag("tbody", [_row(columns, row) for row in body.rows[:MOST_ROWS]]),
        tag("tfoot", [_row(columns, row) for row in body.foot]) if body.foot else NOTHING,
        class_="sorts",
    )
    box = tag("div", table, class_="scroll", role="region", aria_labelledby=f"{key}-caption", tabindex=0)
    return join(box, _left_out(len(body.rows) - MOST_ROWS))


def _left_out(count: int) -> Markup:
    if count <= 0:
        return NOTHING
    return tag(
        "p",
        f"{count:,} rows more, that cost least, are in the sums alone. --csv writes them all.",
        class_="note",
    )


def _head(key: str, column: Column, is_sorted: bool) -> Markup:
    name = f"{key}-{column.key}"
    label = join(column.title, tag("span", "", class_="arrow", aria_hidden="true"))
    content = (
        explained(label, column.formula, name)
        if column.formula
        else tag("button", label, type="button", class_="figure plain")
    )
    return tag(
        "th",
        content,
        scope="col",
        class_="number" if column.is_figure else None,
        aria_sort="descending" if is_sorted else None,
        data_first="descending" if column.is_figure else "ascending",
    )


def _row(columns: Sequence[Column], cells: Sequence[Cell]) -> Markup:
    first, *others = cells
    return tag(
        "tr",
        tag("th", first.content, scope="row", data_value=first.value),
        [_cell(column, cell) for column, cell in zip(columns[1:], others, strict=True)],
    )


def _cell(column: Column, cell: Cell) -> Markup:
    return tag(
        "td", cell.content, class_="number" if column.is_figure else None, data_value=_sort_value(cell.value)
    )


def _sort_value(value: float | None) -> str | None:
    return None if value is None else f"{value:.6g}"


def plain(key: str, caption: str, heads: Sequence[str], rows: Sequence[Sequence[str]]) -> Markup:
    """The figures of a chart, for those who do not see it; the first column names the row."""
    table = tag(
        "table",
        tag("caption", caption, id=f"{key}-caption"),
        tag(
            "thead",
            tag(
                "tr",
                [
                    tag("th", head, scope="col", class_="number" if i else None)
                    for i, head in enumerate(heads)
                ],
            ),
        ),
        tag(
            "tbody",
            [
                tag(
                    "tr",
                    tag("th", row[0], scope="row"),
                    [tag("td", text, class_="number") for text in row[1:]],
                )
                for row in rows
            ],
        ),
    )
    box = tag("div", table, class_="scroll", role="region", aria_labelledby=f"{key}-caption", tabindex=0)
    return tag("details", tag("summary", "The same as a table"), box)


def named(key: Sequence[str]) -> Markup:
    """A name with what it is in, before it."""
    *around, name = key
    prefix = tag("span", " / ".join(around), class_="within") if around else NOTHING
    return join(prefix, tag("span", broken_at_slashes(name), class_="name"))


def broken_at_slashes(name: str) -> Markup:
    first, *others = name.split("/")
    return join(first, [join("/", tag("wbr"), one) for one in others])
