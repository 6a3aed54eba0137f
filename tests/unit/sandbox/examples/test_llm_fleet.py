"""A gateway and servers on shared GPUs: who gets a request, who waits, and what servers measure."""

from __future__ import annotations

import pytest

from sandbox.examples.llm.fleet import Fleet, Gateway, Histogram
from sandbox.examples.llm.gpu_time import ETA, Cost

SECOND = Cost((0.25, 0.75))


def a_fleet(*names: str, each: int = 100, holds: int = 2) -> Fleet:
    return Fleet(0.0, {name: Gateway(SECOND, each, holds) for name in names or ("chat",)})


def latencies(fleet: Fleet, name: str = "chat") -> float:
    return sum(one.whole_request.sum for one in fleet.gateways[name].servers.values())


def test_without_a_server_the_gateway_holds_a_few_and_refuses_the_rest():
    fleet = a_fleet(holds=2)

    fleet.work(3.0, [(1.0, "chat"), (1.5, "chat"), (2.0, "chat")])

    gateway = fleet.gateways["chat"]
    assert (len(gateway.waiting), gateway.refused) == (2, 1)


def test_what_waits_goes_to_the_first_server_which_measures_it_from_then_on():
    fleet = a_fleet()
    fleet.work(3.0, [(1.0, "chat")])

    fleet.place("chat", {"llm/a": "n-1"})
    fleet.work(10.0)

    [server] = fleet.gateways["chat"].servers.values()
    assert not fleet.gateways["chat"].waiting
    assert (server.in_flight, server.whole_request.count, server.whole_request.sum) == (0, 1, 1.0)
    assert server.first_token.sum == pytest.approx(0.25)


def test_a_request_is_measured_from_when_it_came_to_a_server_that_was_there():
    fleet = a_fleet()
    fleet.place("chat", {"llm/a": "n-1"})

    fleet.work(10.0, [(5.0, "chat")])

    assert latencies(fleet) == pytest.approx(1.0)


def test_servers_of_one_gpu_share_its_time_and_those_of_two_do_not():
    def served(nodes: dict[str, str]) -> float:
        fleet = a_fleet("chat", "plain")
        fleet.place("chat", {"llm/a": nodes["a"]})
        fleet.place("plain", {"plain/b": nodes["b"]})
        fleet.work(10.0, [(0.0, "chat"), (0.0, "plain")])
        return latencies(fleet) + latencies(fleet, "plain")

    assert served({"a": "n-1", "b": "n-2"}) == pytest.approx(2.0)
    assert served({"a": "n-1", "b": "n-1"}) == pytest.approx(2 * 2 / ETA)


def test_idle_servers_get_requests_by_chance():
    fleet = a_fleet()
    fleet.place("chat", {f"llm/{name}": name for name in "abcd"})

    fleet.work(1000.0, [(2.0 * at, "chat") for at in range(400)])

    counts = [one.whole_request.count for one in fleet.gateways["chat"].servers.values()]
    assert sum(counts) == 400 and min(counts) > 60


def test_of_busy_servers_the_one_with_the_fewest_gets_the_next():
    fleet = a_fleet("chat", "plain")
    fleet.place("chat", {"llm/a": "n-1", "llm/b": "n-2"})
    fleet.place("plain", {"plain/c": "n-1"})

    # The other's server has the GPU of the first, which keeps its requests for longer therefore.
    fleet.work(60.0, [(at / 2, name) for at in range(60) for name in ("plain", "chat")])

    one, other = fleet.gateways["chat"].servers.values()
    assert one.whole_request.count + one.in_flight < other.whole_request.count


def test_a_server_that_has_its_most_gets_no_more_and_what_finds_none_is_refused():
    fleet = a_fleet(each=2)
    fleet.place("chat", {"llm/a": "n-1", "llm/b": "n-2"})

    fleet.work(0.1, [(0.0, "chat")] * 5)

    gateway = fleet.gateways["chat"]
    assert [one.in_flight for one in gateway.servers.values()] == [2, 2]
    assert (len(gateway.waiting), gateway.refused) == (0, 1)


def test_what_a_server_leaves_is_sent_again_and_begins_again():
    fleet = a_fleet()
    fleet.place("chat", {"llm/a": "n-1"})
    fleet.work(0.5, [(0.0, "chat")])

    fleet.place("chat", {"llm/b": "n-2"})

    assert fleet.gateways["chat"].servers["llm/b"].in_flight == 1
    fleet.work(5.0)
    assert latencies(fleet) == pytest.approx(1.0)


def test_without_another_server_it_waits_again_as_far_as_the_gateway_holds_it():
    fleet = a_fleet(holds=1)
    fleet.place("chat", {"llm/a": "n-1"})
    fleet.work(0.5, [(0.0, "chat"), (0.25, "chat")])

    fleet.place("chat", {})

    gateway = fleet.gateways["chat"]
    assert (len(gateway.waiting), gateway.refused, gateway.servers) == (1, 1, {})


def test_a_server_that_comes_again_on_another_node_is_another():
    """As a StatefulSet's does, which keeps its name."""
    fleet = a_fleet()
    fleet.place("chat", {"llm/a": "n-1"})
    fleet.work(5.0, [(0.0, "chat")])

    fleet.place("chat", {"llm/a": "n-2"})

    [server] = fleet.gateways["chat"].servers.values()
    assert (server.node, server.whole_request.count) == ("n-2", 0)


def test_a_histogram_counts_a_value_in_each_bucket_from_its_own_on():
    histogram = Histogram((0.1, 0.5, 1.0))
    for value in (0.1, 0.3, 7.0):
        histogram.observe(value)

    assert (histogram.counts, histogram.count) == ([1, 2, 2], 3)
    assert histogram.sum == pytest.approx(7.4)
