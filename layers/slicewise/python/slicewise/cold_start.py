"""
For a handler to import before anything else: what makes a function start sooner, and changes nothing else.

* Garbage is collected seldom. A cold start makes a hundred thousand objects that stay (modules, classes,
  botocore's models of services), and Python's default scans them again after every few hundred. So many are
  some 30 MB, and only those of them wait that refer to one another.
* What the build compiled is not compiled again: the methods that `dataclasses` writes for each class, and the
  patterns of `re` (cdk_app/assets/kept_code.py). What it does not know, by its very text, is compiled as
  ever.

`python -m bench coldstart` shows the difference.
"""

from __future__ import annotations

import builtins
import dataclasses
import gc
import marshal
import re
import sys
from importlib._bootstrap_external import MAGIC_NUMBER
from pathlib import Path
from typing import Any

KEPT = Path(__file__).with_name("kept_code") / f"{sys.implementation.cache_tag}.bin"


def use(kept: Path) -> None:
    """Of another Python's bytecode nothing is used: where it is not ours, or not there, all is compiled."""
    try:
        content = kept.read_bytes()
    except OSError:
        return
    if not content.startswith(MAGIC_NUMBER):
        return
    found = marshal.loads(memoryview(content)[len(MAGIC_NUMBER) :])
    _use_code(found["code"])
    _use_patterns(found["sre"], found["patterns"])


def _use_code(code: dict[str, bytes]) -> None:
    def run(source: Any, names: Any, made: Any) -> None:
        known = code.get(source)
        if known is None:  # compiled without what this file imports from the future
            made_of_it = compile(source, "<string>", "exec", dont_inherit=True)
        else:
            made_of_it = marshal.loads(known)
        builtins.exec(made_of_it, names, made)

    # The name is looked up in the module before the builtins. A Python whose `dataclasses` does without it
    # never asks us.
    dataclasses.exec = run  # type: ignore[attr-defined]


def _use_patterns(magic: int, patterns: dict[tuple[Any, int], tuple[Any, ...]]) -> None:
    compiler = re._compiler  # type: ignore[attr-defined]
    sre, compiled = compiler._sre, compiler.compile
    if magic != sre.MAGIC:
        return

    def compile(pattern: Any, flags: int = 0) -> Any:
        known = patterns.get((pattern, int(flags))) if isinstance(pattern, str | bytes) else None
        return sre.compile(pattern, *known) if known else compiled(pattern, flags)

    compiler.compile = compile


gc.set_threshold(150_000, 20, 20)
use(KEPT)
