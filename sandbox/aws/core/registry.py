"""
Which `Aws` serves which account.

moto keeps its state by account, process-wide. What we add to moto is called with an
account and finds here whom it belongs to, so that several can run side by side.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sandbox.aws.server import Aws

_by_account: dict[str, Aws] = {}


def of(account: str) -> Aws | None:
    """None for an account of a plain moto mock in the same process."""
    return _by_account.get(account)


def enter(aws: Aws) -> None:
    """
    Raises:
        RuntimeError: This process already runs one for the account.
    """
    if aws.account in _by_account:
        raise RuntimeError(
            f"account {aws.account} is served in this process already: stop that one, or pass another account"
        )
    _by_account[aws.account] = aws


def leave(aws: Aws) -> None:
    _by_account.pop(aws.account, None)


def any_left() -> bool:
    return bool(_by_account)
