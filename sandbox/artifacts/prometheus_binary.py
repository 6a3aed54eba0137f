"""Prometheus, built from source once into the user's cache folder, without its service discoveries."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from sandbox.artifacts import program
from sandbox.artifacts.program import Program

PROMETHEUS = Program(
    name="prometheus",
    title="Prometheus",
    module="github.com/prometheus/prometheus",
    package="cmd/prometheus",
    minutes=3,
    # What other tags build: clients of two dozen clouds. Targets that a file names are found without them.
    tags="remove_all_sd",
    stamp="github.com/prometheus/common/version.Version",
    version_file="VERSION",
)


def command(progress: Callable[[str], None] = print) -> Path:
    """
    `prometheus`, as its project's releases have it, without service discoveries and the web page; the first
    call builds it.

    Raises:
        BuildFailed: The build or a download failed.
    """
    return program.built(PROMETHEUS, progress) / PROMETHEUS.name
