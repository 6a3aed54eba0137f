"""What several commands print alike."""

from __future__ import annotations

from slicewise.planning.outcome import Finding

# Of what a person gives as a reason, in bytes: it is shown on one line.
LONGEST_REASON = 800


def plural(count: int, what: str) -> str:
    """Such as "1 pod" and "2 pods"."""
    return f"{count} {what}" if count == 1 else f"{count} {what}s"


def print_findings(findings: tuple[Finding, ...]) -> None:
    for finding in findings:
        print(f"  {'blocks' if finding.blocking else 'note'} [{finding.code}] {finding.message}")
        print(f"    {finding.remedy}")
