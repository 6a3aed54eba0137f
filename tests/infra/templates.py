"""Reads a synthesized template the way a person does: by type, with intrinsic functions spelt out."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Resource:
    id: str
    type: str
    properties: dict[str, Any]
    attributes: dict[str, Any]


class Template:
    """`assembly` is the folder that synthesis wrote."""

    def __init__(self, assembly: Path):
        self.assembly = assembly
        self.body = json.loads((assembly / "Slicewise.template.json").read_text())

    def all(self, type: str) -> list[Resource]:
        return [
            Resource(id, type, body.get("Properties", {}), body)
            for id, body in self.body["Resources"].items()
            if body["Type"] == type
        ]

    def one(self, type: str, **properties: Any) -> Resource:
        """The only resource of the type with these properties."""
        found = [
            item
            for item in self.all(type)
            if all(item.properties.get(name) == value for name, value in properties.items())
        ]
        assert len(found) == 1, f"{len(found)} of {type} with {properties}"
        return found[0]

    def function(self, name: str) -> Resource:
        return self.one("AWS::Lambda::Function", FunctionName=name)

    def statements(self, role_name: str) -> list[dict[str, Any]]:
        """Every statement of a role's inline and own managed policies, spelt out."""
        role = self.one("AWS::IAM::Role", RoleName=role_name)
        attached = [
            item
            for type in ("AWS::IAM::Policy", "AWS::IAM::ManagedPolicy")
            for item in self.all(type)
            if {"Ref": role.id} in item.properties.get("Roles", [])
        ]
        documents = [item.properties["PolicyDocument"] for item in attached]
        documents += [policy["PolicyDocument"] for policy in role.properties.get("Policies", [])]
        return [spelt_out(statement) for document in documents for statement in document["Statement"]]

    def granted(self, role_name: str, action: str) -> list[dict[str, Any]]:
        return [item for item in self.statements(role_name) if action in as_list(item["Action"])]

    def asset_folder(self, function: Resource) -> Path:
        """Where the function's code lies in the assembly."""
        key = function.properties["Code"]["S3Key"].removesuffix(".zip")
        return self.assembly / f"asset.{key}"


def spelt_out(value: Any) -> Any:
    """`{"Ref": "X"}` becomes "<X>", GetAtt becomes "<X.Arn>", Join becomes the text that it makes."""
    if isinstance(value, list):
        return [spelt_out(item) for item in value]
    if not isinstance(value, dict):
        return value
    match value:
        case {"Ref": name}:
            return f"<{name}>"
        case {"Fn::GetAtt": [name, attribute]}:
            return f"<{name}.{attribute}>"
        case {"Fn::Join": [glue, parts]}:
            return glue.join(spelt_out(parts))
    return {name: spelt_out(item) for name, item in value.items()}


def as_list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]
