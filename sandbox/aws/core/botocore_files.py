"""
What botocore reads of its own package, read once a process, as is what it calls its events by today.

Every session has a loader of its own, which looks through 400 folders for the services that there are, and
parses a megabyte of endpoints and each service's model again. moto makes sessions for single requests, and
tests make one each: a tenth of their time. Each session also seeks the present names of a hundred events
among sixty aliases.
"""

from __future__ import annotations

import functools
import marshal
from collections.abc import Callable
from typing import Any

from botocore.hooks import EVENT_ALIASES, EventAliaser
from botocore.loaders import JSONFileLoader, Loader

# Nobody changes these, and all may have the same.
_READ_ONLY = ("endpoints", "partitions")
_OWN = Loader.BUILTIN_DATA_PATH


class _ReadOnce(JSONFileLoader):
    """What lies elsewhere, such as a layer's cut-down models, is read as ever: tests write it."""

    def load_file(self, file_path: str) -> Any:
        if not file_path.startswith(_OWN):
            return super().load_file(file_path)
        if file_path.endswith(_READ_ONLY):
            return _read(file_path)
        return marshal.loads(_packed(file_path))  # its own for each, since moto changes models


@functools.cache
def _read(file_path: str) -> Any:
    return JSONFileLoader().load_file(file_path)


@functools.cache
def _packed(file_path: str) -> bytes:
    return marshal.dumps(_plain(JSONFileLoader().load_file(file_path)))


def _plain(value: Any) -> Any:
    """botocore reads OrderedDicts, from when dicts had no order; marshal writes dicts alone."""
    if isinstance(value, dict):
        return {key: _plain(one) for key, one in value.items()}
    return [_plain(one) for one in value] if isinstance(value, list) else value


def _listed_once(real: Callable[[Loader, str], list[str]]) -> Callable[[Loader, str], list[str]]:
    @functools.cache
    def own(type_name: str) -> list[str]:
        loader = Loader([_OWN], include_default_search_paths=False)
        return real(loader, type_name)

    def list_available_services(self: Loader, type_name: str) -> list[str]:
        others = [path for path in self.search_paths if path != _OWN]
        if len(others) == len(self.search_paths):
            return real(self, type_name)
        found = Loader(others, self.file_loader, include_default_search_paths=False)
        return sorted({*own(type_name), *real(found, type_name)})

    return list_available_services


_names: dict[str, str] = {}


def _named_once(real: Callable[..., None]) -> Callable[..., None]:
    def init(self: EventAliaser, *arguments: Any, **named: Any) -> None:
        real(self, *arguments, **named)
        if self._event_aliases == EVENT_ALIASES:
            self._alias_name_cache = _names

    return init


def read_once() -> None:
    """For all sessions that are made from now on; a second call changes nothing."""
    if Loader.FILE_LOADER_CLASS is not _ReadOnce:
        Loader.FILE_LOADER_CLASS = _ReadOnce
        Loader.list_available_services = _listed_once(Loader.list_available_services)
        EventAliaser.__init__ = _named_once(EventAliaser.__init__)
