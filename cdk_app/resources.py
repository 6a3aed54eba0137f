"""What functions are made of: their environment, their grants and the outputs name it."""

from __future__ import annotations

from dataclasses import dataclass

from cdk_app.components.controller import Controller
from cdk_app.components.karpenter import KarpenterRoles
from cdk_app.components.notices import Notices
from cdk_app.components.offhours_schedules import OffHoursSchedules
from cdk_app.components.state import State


@dataclass(frozen=True)
class Resources:
    """
    Attributes:
        karpenter: None where the deployment does not install Karpenter.
    """

    notices: Notices
    state: State
    onboarding: Controller
    tuning: Controller
    off_hours: Controller
    schedules: OffHoursSchedules
    karpenter: KarpenterRoles | None
