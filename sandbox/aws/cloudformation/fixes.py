"""What moto's CloudFormation does differently from AWS, put right; each function names its fault."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from sandbox.aws.core.patching import Patches

FUNCTION_PROPERTIES = (
    "Architectures",
    "DeadLetterConfig",
    "EphemeralStorage",
    "Layers",
    "LoggingConfig",
    "PackageType",
    "TracingConfig",
)
# Of the types that we deploy: those of which an update makes a new resource with a new ARN.
REPLACED_ON_UPDATE = ("AWS::Lambda::LayerVersion", "AWS::SNS::Topic")


def install(patches: Patches) -> None:
    _keep_all_properties_of_functions(patches)
    _name_layer_versions_by_their_arn(patches)
    _keep_what_has_no_update(patches)
    _update_what_refers_to_a_replaced_resource(patches)
    _set_time_to_live(patches)
    _detach_policies_of_deleted_roles(patches)
    _find_templates_on_loopback(patches)
    _answer_for_missing_change_sets(patches)
    _keep_previous_values_of_ssm_parameters(patches)


def _keep_all_properties_of_functions(patches: Patches) -> None:
    """Fault: layers, architecture, logging, tags and more of a template's function are dropped."""
    from moto.awslambda import models
    from moto.awslambda.models import LambdaFunction

    def create(real: Any) -> Any:
        def create_from_cloudformation_json(
            cls: Any, name: str, definition: dict[str, Any], account_id: str, region_name: str, **kwargs: Any
        ) -> Any:
            properties = definition["Properties"]
            backend = models.get_backend(account_id, region_name)
            make = backend.create_function

            def make_whole(spec: dict[str, Any]) -> Any:
                spec |= {key: properties[key] for key in FUNCTION_PROPERTIES if key in properties}
                spec["Tags"] = {tag["Key"]: tag["Value"] for tag in properties.get("Tags", [])}
                return make(spec)

            backend.create_function = make_whole
            try:
                function = real(name, definition, account_id, region_name, **kwargs)
            finally:
                del backend.create_function
            function.logging_config = properties.get("LoggingConfig")
            return function

        return classmethod(create_from_cloudformation_json)

    def update(real: Any) -> Any:
        def update_from_cloudformation_json(
            cls: Any, original_resource: Any, new_resource_name: str, cloudformation_json: Any, **where: Any
        ) -> Any:
            function = real(original_resource, new_resource_name, cloudformation_json, **where)
            function.logging_config = cloudformation_json["Properties"].get("LoggingConfig")
            return function

        return classmethod(update_from_cloudformation_json)

    patches.wrap(LambdaFunction, "create_from_cloudformation_json", create)
    patches.wrap(LambdaFunction, "update_from_cloudformation_json", update)


def _name_layer_versions_by_their_arn(patches: Patches) -> None:
    """Faults: `Ref` of a layer version is a Python object's text; it has no update; it outlives its stack."""
    from moto.awslambda.models import LayerVersion
    from moto.awslambda.utils import get_backend

    def update(
        cls: Any, original_resource: Any, new_resource_name: str, cloudformation_json: Any, **where: Any
    ) -> Any:
        return cls.create_from_cloudformation_json(
            original_resource.name, cloudformation_json, where["account_id"], where["region_name"]
        )

    def delete(self: Any, account_id: str, region_name: str) -> None:
        # Earlier versions, too: CloudFormation drops a replaced resource at the end of its update.
        backend = get_backend(account_id, region_name)
        for version in list(backend.list_layer_versions(self.name)):
            backend.delete_layer_version(self.name, str(version.version))

    patches.replace(LayerVersion, "physical_resource_id", property(lambda version: version.arn))
    patches.replace(LayerVersion, "update_from_cloudformation_json", classmethod(update))
    patches.replace(LayerVersion, "delete", delete)


def _keep_what_has_no_update(patches: Patches) -> None:
    """Fault: a changed resource of a type for which moto has no update becomes None and is lost."""
    from moto.cloudformation import parsing

    def wrapped(real: Any) -> Any:
        def parse_and_update_resource(
            logical_id: str, resource_json: Any, resources_map: Any, account_id: str, region_name: str
        ) -> Any:
            updated = real(logical_id, resource_json, resources_map, account_id, region_name)
            return resources_map[logical_id] if updated is None else updated

        return parse_and_update_resource

    patches.wrap(parsing, "parse_and_update_resource", wrapped)


def _update_what_refers_to_a_replaced_resource(patches: Patches) -> None:
    """
    Faults: resources that refer to a replaced one keep its old id; and a resource without
    `Properties` counts as changed at every update, so that a topic is replaced for nothing.
    """
    from moto.cloudformation.parsing import ResourceMap

    def wrapped(real: Any) -> Any:
        def build_resource_diff(self: Any, other_template: dict[str, Any], parameters: Any = None) -> Any:
            new = other_template["Resources"]
            for resource in [*self._resource_json_map.values(), *new.values()]:
                resource.setdefault("Properties", {})
            diff = real(self, other_template, parameters)
            changed = diff["Modify"]
            replaced = {name for name in changed if new[name]["Type"] in REPLACED_ON_UPDATE}
            changed += [
                name
                for name in new
                if name not in changed and name not in diff["Add"] and replaced & set(_references(new[name]))
            ]
            changed.sort(key=lambda name: name not in replaced)
            return diff

        return build_resource_diff

    patches.wrap(ResourceMap, "build_resource_diff", wrapped)


def _references(part: Any) -> Iterator[str]:
    if isinstance(part, dict):
        if isinstance(part.get("Ref"), str):
            yield part["Ref"]
        if isinstance(part.get("Fn::GetAtt"), list):
            yield part["Fn::GetAtt"][0]
        for value in part.values():
            yield from _references(value)
    elif isinstance(part, list):
        for value in part:
            yield from _references(value)


def _set_time_to_live(patches: Patches) -> None:
    """Fault: a table's `TimeToLiveSpecification` is dropped. (Nothing expires, before or after.)"""
    from moto.dynamodb.models import dynamodb_backends
    from moto.dynamodb.models.table import Table

    def wrapped(real: Any) -> Any:
        def create_from_cloudformation_json(
            cls: Any, name: str, definition: dict[str, Any], account_id: str, region_name: str, **kwargs: Any
        ) -> Any:
            table = real(name, definition, account_id, region_name, **kwargs)
            if specification := definition["Properties"].get("TimeToLiveSpecification"):
                dynamodb_backends[account_id][region_name].update_time_to_live(table.name, specification)
            return table

        return classmethod(create_from_cloudformation_json)

    patches.wrap(Table, "create_from_cloudformation_json", wrapped)


def _detach_policies_of_deleted_roles(patches: Patches) -> None:
    """Fault: a stack's role with managed policies cannot be deleted; CloudFormation detaches them."""
    from moto.iam.models import Role, iam_backends

    def wrapped(real: Any) -> Any:
        def delete_from_cloudformation_json(
            cls: Any, resource_name: str, definition: Any, account_id: str, region_name: str
        ) -> None:
            backend = iam_backends[account_id]["aws"]
            for policy in list(backend.list_attached_role_policies(resource_name)[0]):
                backend.detach_role_policy(policy.arn, resource_name)
            real(resource_name, definition, account_id, region_name)

        return classmethod(delete_from_cloudformation_json)

    patches.wrap(Role, "delete_from_cloudformation_json", wrapped)


def _find_templates_on_loopback(patches: Patches) -> None:
    """Fault: a TemplateURL on 127.0.0.1 is read as one of a bucket named 127; only localhost is known."""
    from moto.cloudformation import responses

    def wrapped(real: Any) -> Any:
        def get_stack_from_s3_url(url: str, *where: Any, **kwargs: Any) -> Any:
            return real(url.replace("//127.0.0.1:", "//localhost:"), *where, **kwargs)

        return get_stack_from_s3_url

    patches.wrap(responses, "get_stack_from_s3_url", wrapped)


def _answer_for_missing_change_sets(patches: Patches) -> None:
    """Fault: a change set that is not there is HTTP 500, which the CDK CLI repeats for 45 s."""
    from moto.cloudformation.models import CloudFormationBackend
    from moto.core.exceptions import ServiceException

    class ChangeSetNotFound(ServiceException):
        code = "ChangeSetNotFound"

    def known(self: Any, name: str) -> list[str]:
        return [key for key, one in self.change_sets.items() if name in (key, one.change_set_name)]

    def delete_change_set(self: Any, change_set_name: str) -> None:
        for key in known(self, change_set_name):
            del self.change_sets[key]

    def wrapped(real: Any) -> Any:
        def describe_change_set(self: Any, change_set_name: str) -> Any:
            if not known(self, change_set_name):
                raise ChangeSetNotFound(f"ChangeSet [{change_set_name}] does not exist")
            return real(self, change_set_name)

        return describe_change_set

    patches.replace(CloudFormationBackend, "delete_change_set", delete_change_set)
    patches.wrap(CloudFormationBackend, "describe_change_set", wrapped)


def _keep_previous_values_of_ssm_parameters(patches: Patches) -> None:
    """Fault: with UsePreviousValue the resolved value, not its path, is looked up again: HTTP 500."""
    from moto.cloudformation.parsing import ResourceMap

    def wrapped(real: Any) -> Any:
        def parse_ssm_parameter(self: Any, value: str, value_type: str) -> Any:
            try:
                return real(self, value, value_type)
            except AttributeError:  # there is no parameter of that name, so it is a value
                return value

        return parse_ssm_parameter

    patches.wrap(ResourceMap, "parse_ssm_parameter", wrapped)
