#!/usr/bin/env bash
# botocore: to look up an endpoint changes what later questions are answered.
#
# Guess: EndpointResolver.construct_endpoint() only reads, so that "which Regions have a FIPS endpoint of STS?"
#        has one answer, whatever was asked before.
# Seen:  the lookup merges the defaults of service and partition into the endpoint's own record, in the data
#        that the whole session shares. The defaults bring templates for FIPS and dual stack with them, and
#        from then on get_available_endpoints() lists that Region as one that has such an endpoint.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check botocore==1.44.5

"$folder/venv/bin/python" - <<'PYTHON'
import sys
from importlib.metadata import version

import botocore.session

resolver = botocore.session.get_session().get_component("endpoint_resolver")


def with_fips():
    return sorted(resolver.get_available_endpoints("sts", "aws", endpoint_variant_tags=["fips"]))


before = with_fips()
hostname = resolver.construct_endpoint("sts", "eu-west-1")["hostname"]
after = with_fips()

print(f"botocore {version('botocore')}")
print("guess: the list of Regions with a FIPS endpoint of STS is the same before and after a plain lookup")
print("seen, before:", before)
print(f"seen, after asking for {hostname}:", after)
if "eu-west-1" in before or "eu-west-1" not in after:
    sys.exit("The behaviour has changed: the lookup leaves the data as they were.")
PYTHON
