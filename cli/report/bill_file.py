"""Reads the files of `--bill`: CSV, plain or compressed by gzip, and Parquet."""

from __future__ import annotations

import csv
import gzip
import zlib
from collections.abc import Iterator, Sequence
from contextlib import closing
from io import TextIOWrapper
from pathlib import Path
from typing import Any, BinaryIO

from slicewise.errors import Refused

from cli.report.bill import CUR, FOCUS, Bill, Line, read

_GZIP, _PARQUET = b"\x1f\x8b", b"PAR1"
# Of a Parquet file so many lines are in memory at a time.
_AT_A_TIME = 50_000


def read_all(paths: Sequence[Path], regions: frozenset[str]) -> Bill:
    """
    Raises:
        Refused: Names the file, what is wrong with it and what to do.
    """
    bill = Bill()
    for path in paths:
        try:
            with path.open("rb") as file:
                _read(bill, path, file, regions)
        except OSError as error:
            why = error.strerror or str(error)
            raise Refused(f"--bill {path} cannot be read: {why}. Name another.") from error
        # What Parquet is broken in, and text that is no text, are ValueErrors.
        except (ValueError, csv.Error, EOFError, zlib.error) as error:
            raise Refused(f"--bill {path} is neither CSV nor Parquet: {error}. Export it again.") from error
    return bill


def _read(bill: Bill, path: Path, file: BinaryIO, regions: frozenset[str]) -> None:
    magic = file.read(4)
    file.seek(0)
    if magic == _PARQUET:
        columns, lines = _parquet(path, file)
        read(bill, path.name, columns, lines, regions)
        return
    plain: Any = gzip.GzipFile(fileobj=file) if magic.startswith(_GZIP) else file
    with closing(TextIOWrapper(plain, encoding="utf-8-sig", newline="")) as text:
        rows = csv.DictReader(text)
        read(bill, path.name, rows.fieldnames or (), rows, regions)


def _parquet(path: Path, file: BinaryIO) -> tuple[list[str], Iterator[Line]]:
    try:
        from pyarrow import ArrowException
        from pyarrow.parquet import ParquetFile
    except ModuleNotFoundError as error:
        raise Refused(f"--bill {path}: Parquet takes pyarrow. Install it: pip install '.[bill]'") from error
    try:
        found = ParquetFile(file)
    except ArrowException as error:
        raise Refused(f"--bill {path} is no Parquet file: {error}. Export it again.") from error
    columns = list(found.schema_arrow.names)
    wanted = [
        name for one in (FOCUS, CUR) for name in (*one.needed, *one.used, *one.month) if name in columns
    ]
    return columns, _lines(found, wanted)


def _lines(found: Any, columns: Sequence[str]) -> Iterator[Line]:
    for batch in found.iter_batches(batch_size=_AT_A_TIME, columns=list(columns)):
        yield from batch.to_pylist()
