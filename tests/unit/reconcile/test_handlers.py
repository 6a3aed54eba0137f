"""Each action that a plan may ask for is done by one handler, made for it."""

from __future__ import annotations

from typing import get_args, get_type_hints

import pytest
from slicewise.planning.actions import Action
from slicewise.reconcile import eks_handlers, executor, handlers
from slicewise.reconcile.executor import ActionExecutor
from slicewise.trigger import Trigger


def test_every_action_has_exactly_one_handler():
    in_cluster, in_eks = set(handlers.HANDLERS), set(eks_handlers.HANDLERS)

    assert in_cluster.isdisjoint(in_eks)
    assert in_cluster | in_eks == set(executor.HANDLERS) == set(get_args(Action))


@pytest.mark.parametrize("action", get_args(Action), ids=lambda action: action.__name__)
def test_a_handler_is_made_for_the_action_that_it_is_given(action):
    made_for = get_type_hints(executor.HANDLERS[action])["action"]

    assert action in (get_args(made_for) or (made_for,))


def test_what_no_handler_knows_is_refused_by_name():
    class Sing:
        pass

    with pytest.raises(TypeError, match="no port call is known for Sing"):
        ActionExecutor(
            Trigger("arn:aws:eks:eu-west-1:111122223333:cluster/a", "a test"), None, ports=None
        ).do(Sing())
