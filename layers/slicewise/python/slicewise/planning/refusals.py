"""
Who refused a write for good, by the API server's answer. Pure.

Admission and validation say the same of the same object an hour later: to try again changes nothing. Not so
a right that is lacking, which the next onboarding may bring, nor a webhook that does not answer.
"""

from __future__ import annotations

import re

from slicewise.errors import Refused, SlicewiseError, Unauthorized

# As kube-apiserver 1.35 to 1.37 words it, by its source; a policy and a schema were seen to, on a real one
# (tests/sandbox/offhours/test_offhours.py).
_POLICY = re.compile(r"(ValidatingAdmissionPolicy '([^']+)'(?: with binding '[^']+')?) denied request")
_WEBHOOK = re.compile(r'(admission webhook "[^"]+") denied the request')
_VALIDATION = re.compile(r": 422 .* is invalid: ", re.DOTALL)
# Our own policies let us do less while a release is rolled out; the next onboarding ends that.
_OURS = "slicewise-"


def refused_by(error: SlicewiseError) -> str:
    """
    In the API server's words, such as "admission webhook "x.example.com""; empty where no webhook did, or
    what refused may be over soon.
    """
    if not isinstance(error, Refused) or isinstance(error, Unauthorized):
        return ""
    message = str(error)
    if policy := _POLICY.search(message):
        return "" if policy[2].startswith(_OURS) else policy[1]
    if webhook := _WEBHOOK.search(message):
        return webhook[1]
    return "the validation of its kind" if _VALIDATION.search(message) else ""
