"""What botocore's loaders share, and what they must not."""

from __future__ import annotations

import json
import os

import pytest
from botocore.hooks import EventAliaser, HierarchicalEmitter
from botocore.loaders import Loader

from sandbox.aws.core import botocore_files

botocore_files.read_once()


@pytest.fixture
def listed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Folders that are looked into."""
    seen: list[str] = []
    real = os.listdir
    monkeypatch.setattr(os, "listdir", lambda path: seen.append(str(path)) or real(path))
    return seen


def test_the_services_are_looked_for_once(listed):
    first = Loader().list_available_services("service-2")
    listed.clear()

    assert Loader().list_available_services("service-2") == first
    assert [path for path in listed if path.startswith(Loader.BUILTIN_DATA_PATH)] == []
    assert {"dynamodb", "eks", "sqs"} <= set(first)


def test_each_has_a_model_of_its_own_to_change():
    Loader().load_service_model("sqs", "service-2")["operations"].clear()

    assert "SendMessage" in Loader().load_service_model("sqs", "service-2")["operations"]


def test_a_model_is_what_botocore_makes_of_the_file():
    name = "sqs/2012-11-05/service-2"

    found = Loader().load_data(name)

    assert found == json.loads(
        json.dumps(botocore_files.JSONFileLoader().load_file(f"{Loader.BUILTIN_DATA_PATH}/{name}"))
    )
    assert list(found["operations"]) == sorted(found["operations"])


def test_models_elsewhere_are_found_and_read_each_time(tmp_path):
    mine = tmp_path / "of-mine" / "2026-01-01"
    loaded = []
    for version in ("1", "2"):
        mine.mkdir(parents=True, exist_ok=True)
        (mine / "service-2.json").write_text(json.dumps({"version": version}))
        loader = Loader([str(tmp_path)])
        assert {"of-mine", "sqs"} <= set(loader.list_available_services("service-2"))
        loaded.append(loader.load_service_model("of-mine", "service-2")["version"])

    assert loaded == ["1", "2"]


def _heard(aliaser: EventAliaser, registered: str, emitted: str) -> bool:
    aliaser.register(registered, lambda **_: True)
    return bool(aliaser.emit(emitted))


def test_an_old_name_of_an_event_is_known_to_every_session_and_other_aliases_stay_their_own():
    """Sought among aliases once; what somebody aliases otherwise is no name for others."""
    other = EventAliaser(HierarchicalEmitter(), {"logs": "mine"})
    first, second = (EventAliaser(HierarchicalEmitter()) for _ in range(2))

    assert _heard(other, "before-call.logs", "before-call.mine")
    for aliaser in (first, second):
        assert _heard(aliaser, "before-call.logs", "before-call.cloudwatch-logs")
        assert not aliaser.emit("before-call.mine")
    assert first._alias_name_cache is second._alias_name_cache is not other._alias_name_cache
