"""What each action of planning/eks_actions.py is, as one call of a port: releases, access, add-ons."""

from __future__ import annotations

from collections.abc import Mapping

from slicewise.planning.actions import Action
from slicewise.planning.eks_actions import (
    AllowAccessEntries,
    ApplyChartCrds,
    DeleteAccessEntry,
    GrantAdmin,
    PutAccessEntry,
    PutAddon,
    PutPodIdentity,
    RevokeAdmin,
    RollbackRelease,
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
}
