"""Try one example: build what it needs, show it, and keep its claims."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path

from sandbox.artifacts import binaries, program
from sandbox.controllers import catalog as controllers
from sandbox.demo.narrator import Narrator
from sandbox.examples.catalog import Example
from sandbox.examples.world import World


def run(example: Example, out: Path) -> bool:
    """
    Tell it on stdout and write its claims to `out`; whether all of the example's claims hold.

    Raises:
        BuildFailed: What it needs could not be built.
    """
    _build(example)
    story = Narrator(sys.stdout, example.claims)
    story.chapter(f"{example.name}: {example.title}")
    story.show(
        f"""Applied are the files of examples/{example.name}. Real: {", ".join(_real(example))}. Simulated:
        AWS's APIs, the kubelets and the GPUs, so no container runs. Its policy is the example's own, but for
        the NodeClass and what would take minutes; what is another of its objects is printed where they are
        applied."""
    )
    with tempfile.TemporaryDirectory(prefix="slicewise-try-") as folder:
        try:
            with World.start(example, story, Path(folder)) as world:
                example.load().show(story, world)
        finally:
            story.write(out)
    held = sum(claim.holds for claim in story.claims)
    story.show(
        f"{held} of {len(story.promised)} claims hold, after {story.seconds:.0f} s; they are kept in {out}."
    )
    return story.all_hold


def _build(example: Example) -> None:
    """Minutes, once a machine, which are not the example's."""
    binaries.ensure(print)
    for name in example.controllers:
        program.built(controllers.named(name).program, print)


def _real(example: Example) -> Iterable[str]:
    yield from ("Kubernetes' control plane", "Karpenter", "Slicewise's deployed functions")
    yield from (controllers.named(name).program.title for name in example.controllers)
