"""What each action of planning/eks_actions.py is, as one call of a port."""

from __future__ import annotations

from collections.abc import Mapping

from slicewise.planning.actions import Action
from slicewise.planning.eks_actions import (
    AllowAccessEntries,
    ApplyChartCrds,
    AttachRolePolicy,
    CreateEventQueue,
    CreateFargateProfile,
    CreateOidcProvider,
    CreateRole,
    DeleteAccessEntry,
    DeleteEventQueue,
    DeleteEventRule,
    DeleteFargateProfile,
    DeleteOidcProvider,
    DeleteRole,
    GrantAdmin,
    PutAccessEntry,
    PutAddon,
    PutEventRule,
    PutEventTarget,
    PutPodIdentity,
    RevokeAdmin,
    RollbackRelease,
    SetEventQueue,
    TryUpgrade,
    UninstallRelease,
    UpgradeRelease,
)
from slicewise.reconcile.connection import Connection, Handler


def _apply_chart_crds(connection: Connection, action: ApplyChartCrds) -> None:
    for crd in connection.helm.chart_crds(action.chart, action.version):
        connection.still_ours()
        connection.kubernetes.apply(crd)


def _try_upgrade(connection: Connection, action: TryUpgrade) -> None:
    connection.helm.try_upgrade(action.name, action.namespace, action.chart, action.version, action.values)


def _upgrade(connection: Connection, action: UpgradeRelease) -> None:
    connection.helm.upgrade(
        action.name,
        action.namespace,
        action.chart,
        action.version,
        action.values,
        take_ownership=action.take_ownership,
    )


def _roll_back(connection: Connection, action: RollbackRelease) -> None:
    """
    To the newest revision that was ever deployed; a release that never was is uninstalled, and so is one
    of which a killed helm has taken a part away already.
    """
    helm = connection.helm
    if action.revision:
        helm.rollback(action.name, action.namespace, action.revision)
        return
    revisions = helm.revisions(action.name, action.namespace)
    if not revisions or not revisions[0].pending:
        return
    sound = [release.revision for release in revisions if release.status in ("deployed", "superseded")]
    if sound and revisions[0].status != "uninstalling":
        helm.rollback(action.name, action.namespace, sound[0])
    else:
        helm.uninstall(action.name, action.namespace)


def _uninstall(connection: Connection, action: UninstallRelease) -> None:
    connection.helm.uninstall(action.name, action.namespace)


def _allow_access_entries(connection: Connection, action: AllowAccessEntries) -> None:
    connection.ports.eks.allow_access_entries(connection.trigger.name)


def _put_access_entry(connection: Connection, action: PutAccessEntry) -> None:
    connection.ports.eks.put_access_entry(
        connection.trigger.name, action.principal, action.groups, action.type
    )


def _delete_access_entry(connection: Connection, action: DeleteAccessEntry) -> None:
    connection.ports.eks.delete_access_entry(connection.trigger.name, action.principal)


def _grant_admin(connection: Connection, action: GrantAdmin) -> None:
    connection.ports.eks.grant_admin(connection.trigger.name, action.principal)


def _revoke_admin(connection: Connection, action: RevokeAdmin) -> None:
    connection.ports.eks.revoke_admin(connection.trigger.name, action.principal)


def _put_addon(connection: Connection, action: PutAddon) -> None:
    connection.ports.eks.put_addon(connection.trigger.name, action.name)


def _put_pod_identity(connection: Connection, action: PutPodIdentity) -> None:
    connection.ports.eks.put_pod_identity(
        connection.trigger.name, action.namespace, action.service_account, action.role_arn
    )


def _create_fargate_profile(connection: Connection, action: CreateFargateProfile) -> None:
    connection.ports.eks.create_fargate_profile(connection.trigger.name, action.profile)


def _delete_fargate_profile(connection: Connection, action: DeleteFargateProfile) -> None:
    connection.ports.eks.delete_fargate_profile(connection.trigger.name, action.name)


def _create_role(connection: Connection, action: CreateRole) -> None:
    connection.ports.iam.create_role(action.role)


def _attach_role_policy(connection: Connection, action: AttachRolePolicy) -> None:
    connection.ports.iam.attach_policy(action.role, action.policy)


def _delete_role(connection: Connection, action: DeleteRole) -> None:
    connection.ports.iam.delete_role(action.name)


def _create_oidc_provider(connection: Connection, action: CreateOidcProvider) -> None:
    connection.ports.iam.create_oidc_provider(action.issuer, action.audience, action.tags)


def _delete_oidc_provider(connection: Connection, action: DeleteOidcProvider) -> None:
    connection.ports.iam.delete_oidc_provider(action.arn)


def _create_event_queue(connection: Connection, action: CreateEventQueue) -> None:
    connection.ports.event_queues.create_queue(action.queue)


def _set_event_queue(connection: Connection, action: SetEventQueue) -> None:
    connection.ports.event_queues.set_queue(action.queue)


def _delete_event_queue(connection: Connection, action: DeleteEventQueue) -> None:
    connection.ports.event_queues.delete_queue(action.name)


def _put_event_rule(connection: Connection, action: PutEventRule) -> None:
    connection.ports.event_rules.put_rule(action.rule)


def _put_event_target(connection: Connection, action: PutEventTarget) -> None:
    connection.ports.event_rules.put_target(action.rule, action.target)


def _delete_event_rule(connection: Connection, action: DeleteEventRule) -> None:
    connection.ports.event_rules.delete_rule(action.name)


HANDLERS: Mapping[type[Action], Handler] = {
    ApplyChartCrds: _apply_chart_crds,
    TryUpgrade: _try_upgrade,
    UpgradeRelease: _upgrade,
    RollbackRelease: _roll_back,
    UninstallRelease: _uninstall,
    AllowAccessEntries: _allow_access_entries,
    PutAccessEntry: _put_access_entry,
    DeleteAccessEntry: _delete_access_entry,
    GrantAdmin: _grant_admin,
    RevokeAdmin: _revoke_admin,
    PutAddon: _put_addon,
    PutPodIdentity: _put_pod_identity,
    CreateFargateProfile: _create_fargate_profile,
    DeleteFargateProfile: _delete_fargate_profile,
    CreateRole: _create_role,
    AttachRolePolicy: _attach_role_policy,
    DeleteRole: _delete_role,
    CreateOidcProvider: _create_oidc_provider,
    DeleteOidcProvider: _delete_oidc_provider,
    CreateEventQueue: _create_event_queue,
    SetEventQueue: _set_event_queue,
    DeleteEventQueue: _delete_event_queue,
    PutEventRule: _put_event_rule,
    PutEventTarget: _put_event_target,
    DeleteEventRule: _delete_event_rule,
}
