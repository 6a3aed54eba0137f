"""
What a function would make again at each start, made once here: a program that the layer's build runs.

    python kept_code.py FOLDER FILE PATH...

`dataclasses` writes source for each class and compiles it, and `re` compiles each pattern: a fifth of a cold
start together (`python -m bench coldstart`). Our package is imported whole, from FOLDER, with what the
runtime brings, from the PATHs. What was compiled meanwhile goes to FILE, for `slicewise.cold_start`:
bytecode, so it comes from the runtime's own minor version, as the modules' does.

Standard library only, and of any version: the runtime's Python runs it, not ours.
"""

from __future__ import annotations

import builtins
import dataclasses
import importlib
import importlib.util
import marshal
import pkgutil
import re
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

# Where `re` turns a parsed pattern into code.
_COMPILER: Any = vars(re)["_compiler"]
_CODE: dict[str, bytes] = {}
_PATTERNS: dict[tuple[object, int], tuple[object, ...]] = {}


def _exec(source: str, names: dict[str, Any], made: dict[str, Any]) -> None:
    # As exec does there, and not by what this file imports from the future.
    code = compile(source, "<string>", "exec", dont_inherit=True)
    _CODE[source] = marshal.dumps(code)
    builtins.exec(code, names, made)


class _Sre:
    """The module `_sre`, with its `compile` watched: it is given what `re` has made of a pattern."""

    def __init__(self, real: Any):
        self._real = real
        self.asked: tuple[str | bytes | None, int] = (None, 0)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)

    def compile(self, pattern: object, flags: int, code: Iterable[int], *made: Any) -> Any:
        if self.asked[0] is pattern:
            # Of plain numbers: opcodes are a class of their own, which marshal does not know.
            _PATTERNS[self.asked] = (int(flags), [int(one) for one in code], *made)
        return self._real.compile(pattern, flags, code, *made)


def _watch() -> None:
    setattr(dataclasses, "exec", _exec)  # noqa: B010 - shadows the builtin there; not an attribute of its own
    compiler = _COMPILER
    sre, real = _Sre(compiler._sre), compiler.compile

    def compile_(pattern: Any, flags: int = 0) -> Any:
        # Of text and bytes alone: what else is compiled is parsed already, and has no equal.
        sre.asked = (pattern, int(flags)) if isinstance(pattern, str | bytes) else (None, 0)
        return real(pattern, flags)

    compiler._sre, compiler.compile = sre, compile_


def main(folder: str, file: str, *paths: str) -> None:
    # Ours first, as in the runtime; the others last, so that none hides a module of this Python's own.
    sys.path[:] = [folder, *sys.path, *paths]
    _watch()
    package = importlib.import_module("slicewise")
    for module in pkgutil.walk_packages(package.__path__, "slicewise."):
        importlib.import_module(module.name)
    kept = {"code": _CODE, "sre": _COMPILER._sre.MAGIC, "patterns": _PATTERNS}
    Path(file).write_bytes(importlib.util.MAGIC_NUMBER + marshal.dumps(kept))


if __name__ == "__main__":
    main(*sys.argv[1:])
