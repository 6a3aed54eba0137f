from __future__ import annotations

from slicewise.kube import kinds
from slicewise.kube.kinds import RESOURCES, ApiKind
from slicewise.kube.ref import Ref

from tests.support.nonempty import nonempty

DECLARED = [value for value in vars(kinds).values() if isinstance(value, ApiKind)]


def test_each_kind_is_declared_once_and_has_its_plural():
    in_group = [kind.in_group for kind in nonempty(DECLARED)]

    assert len(in_group) == len(set(in_group))
    assert set(in_group) <= set(RESOURCES)


def test_a_kind_is_the_beginning_of_a_reference():
    assert Ref(*kinds.NODE_POOL, "a") == Ref("karpenter.sh/v1", "NodePool", "a")
    assert kinds.NODE_POOL.in_group == ("karpenter.sh", "NodePool")
    assert kinds.POD.in_group == ("", "Pod")
