"""What a deployment does for a cluster, by the names of queues and of records."""

from __future__ import annotations

ONBOARDING, TUNING, OFF_HOURS = "onboarding", "tuning", "off-hours"
CAPABILITIES = (ONBOARDING, TUNING, OFF_HOURS)
