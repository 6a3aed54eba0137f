"""Errors that a person fixes before anything is deployed."""


class DeploymentError(Exception):
    """Shown as it is, without a traceback: it says what is wrong and what to write instead."""
