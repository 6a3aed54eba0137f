"""HTML read back: its elements as a tree, with what browsers would forgive as an error."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from html.parser import HTMLParser

VOID = {"meta", "link", "br", "col", "wbr", "img", "input"}


@dataclass
class Element:
    name: str
    attributes: dict[str, str | None] = field(default_factory=dict)
    children: list[Element | str] = field(default_factory=list)

    def all(self, name: str = "", class_: str = "") -> list[Element]:
        """Elements below it with that name and class, in the order of the page."""
        return [one for one in self._below() if name in ("", one.name) and class_ in ("", *one.classes)]

    def one(self, name: str = "", class_: str = "") -> Element:
        [found] = self.all(name, class_)
        return found

    def with_id(self, wanted: str) -> Element:
        [found] = [one for one in self._below() if one.attributes.get("id") == wanted]
        return found

    @property
    def classes(self) -> list[str]:
        return (self.attributes.get("class") or "").split()

    @property
    def text(self) -> str:
        """All that a reader sees of it; a formula, which is hidden at first, is not."""
        if "formula" in self.classes:
            return ""
        return "".join(child if isinstance(child, str) else child.text for child in self.children)

    def _below(self) -> Iterator[Element]:
        for child in self.children:
            if isinstance(child, Element):
                yield child
                yield from child._below()


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.open = [Element("document")]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        element = Element(tag, dict(attrs))
        assert len(element.attributes) == len(attrs), f"<{tag}> has an attribute twice: {attrs}"
        self.open[-1].children.append(element)
        if tag not in VOID:
            self.open.append(element)

    def handle_endtag(self, tag: str) -> None:
        assert self.open[-1].name == tag, f"</{tag}> closes <{self.open[-1].name}>"
        self.open.pop()

    def handle_data(self, data: str) -> None:
        self.open[-1].children.append(data)


def read(text: str) -> Element:
    """The document; each element has to be closed, in its order."""
    reader = _Reader()
    reader.feed(text)
    reader.close()
    assert [one.name for one in reader.open] == ["document"]
    return reader.open[0]
