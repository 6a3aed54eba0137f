"""
Which `Account` is served here under which number.

moto keeps its state by account, process-wide. What we add to moto is called with an
account's number and finds here whom it belongs to, so that several can run side by side.
"""

from __future__ import annotations

from sandbox.aws.core.account import Account

_by_number: dict[str, Account] = {}


def of(number: str) -> Account | None:
    """None for an account of a plain moto mock in the same process."""
    return _by_number.get(number)


def served(number: str) -> Account:
    """
    For what is patched in only while an account is served.

    Raises:
        LookupError: A plain moto mock in the same process has reached one of our patches.
    """
    if account := _by_number.get(number):
        return account
    raise LookupError(f"account {number} is not served in this process: start it with Aws.start(folder)")


def enter(account: Account) -> None:
    """
    Raises:
        RuntimeError: This process already runs one for the account.
    """
    number = account.account
    if number in _by_number:
        raise RuntimeError(
            f"account {number} is served in this process already: stop that one, or pass another account"
        )
    _by_number[number] = account


def leave(account: Account) -> None:
    _by_number.pop(account.account, None)


def any_left() -> bool:
    return bool(_by_number)
