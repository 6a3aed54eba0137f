"""
What botocore is told of AWS's endpoints, read once a process.

Every session has a loader of its own, which reads that megabyte again. moto makes sessions for single
requests, and tests make one each: a tenth of their time.
"""

from __future__ import annotations

import functools
from typing import Any

from botocore.loaders import JSONFileLoader, Loader

# Not the services' models, which moto changes.
_READ_ONLY = ("endpoints", "partitions")


class _ReadOnce(JSONFileLoader):
    def load_file(self, file_path: str) -> Any:
        return _read(file_path) if file_path.endswith(_READ_ONLY) else super().load_file(file_path)


@functools.cache
def _read(file_path: str) -> Any:
    return JSONFileLoader().load_file(file_path)


def read_once() -> None:
    Loader.FILE_LOADER_CLASS = _ReadOnce
