"""HTML and SVG, built so that a text cannot become markup."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape

# Elements without an end tag.
_VOID = {"meta", "link", "br", "col", "wbr"}


class Markup(str):
    """Text that is HTML already; any other text is escaped where it is put in."""

    __slots__ = ()


NOTHING = Markup()
Child = str | Iterable[str]


def tag(name: str, /, *children: Child, **attributes: object) -> Markup:
    """
    One element.

    Args:
        children: Texts, which are escaped, and Markup, which is not; or lists of these.
        attributes: `class_` stands for class, "_" for "-"; None and False leave one out, True gives its name.
    """
    begin = f"<{name}{''.join(_attribute(key, value) for key, value in attributes.items())}>"
    return Markup(begin) if name in _VOID else Markup(f"{begin}{join(*children)}</{name}>")


def join(*children: Child) -> Markup:
    return Markup("".join(_child(child) for child in children))


def _child(child: Child) -> str:
    if isinstance(child, Markup):
        return child
    return escape(child) if isinstance(child, str) else join(*child)


def _attribute(key: str, value: object) -> str:
    name = key.rstrip("_").replace("_", "-")
    if value is None or value is False:
        return ""
    return f" {name}" if value is True else f' {name}="{escape(_text(value))}"'


def _text(value: object) -> str:
    return f"{value:.2f}".rstrip("0").rstrip(".") if isinstance(value, float) else str(value)
