"""CloudFormation knows a resource by its logical id: under another one it deletes it and makes a new one."""

from __future__ import annotations

from pathlib import Path

KNOWN = Path(__file__).with_name("logical_ids.txt")


def test_every_resource_keeps_the_logical_id_under_which_it_is_deployed(full):
    """A new resource is added to the file. One that changes there is replaced in every deployment."""
    resources = {
        f"{body['Type']} {id}"
        for id, body in full.body["Resources"].items()
        # One for each file in policies/.
        if body["Type"] != "AWS::SSM::Parameter"
    }

    assert resources == set(KNOWN.read_text().splitlines())
