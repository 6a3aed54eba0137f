"""
The sample model learns, answers over HTTP, and its asker prints latencies: on any machine, without a GPU.
"""

import importlib.util
import json
import re
import threading
import urllib.error
import urllib.request
from http.server import ThreadingHTTPServer
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[3] / "examples" / "slice-inference" / "charmodel.py"


@pytest.fixture(scope="module")
def charmodel():
    spec = importlib.util.spec_from_file_location("charmodel", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def trained(charmodel):
    model = charmodel.CharModel()
    return model, list(charmodel.train(model, rounds=8))


@pytest.fixture(scope="module")
def server(charmodel, trained):
    server = ThreadingHTTPServer(("127.0.0.1", 0), charmodel.handler(trained[0]))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join()


def get(url):
    with urllib.request.urlopen(url, timeout=10) as answer:
        return json.load(answer)


def test_it_learns(trained):
    _, losses = trained

    assert losses[-1] < losses[0] / 2


def test_its_gradient_is_the_slope_of_its_loss(charmodel):
    """Against a difference quotient, at one weight of each layer."""
    context, target, step = [1, 2, 3, 4], 5, 1e-5
    for layer, row, column in (("out", 5, 0), ("hidden", 3, 2), ("embed", 2, 1)):

        def loss(nudge, layer=layer, row=row, column=column):
            model = charmodel.CharModel(seed=3)
            getattr(model, layer)[row][column] += nudge
            return model.learn(context, target, rate=0)

        model = charmodel.CharModel(seed=3)
        before = getattr(model, layer)[row][column]
        model.learn(context, target, rate=1e-6)
        learned = (before - getattr(model, layer)[row][column]) / 1e-6
        assert learned == pytest.approx((loss(step) - loss(-step)) / (2 * step), rel=1e-3, abs=1e-6)


def test_it_finishes_any_prompt(trained, charmodel):
    model, _ = trained

    for prompt in ("", "a small", "ÄÖ 123!", "x" * 500):
        said = model.finish(prompt, 40)
        assert len(said) == 40
        assert set(said) <= set(charmodel.ALPHABET)


def test_it_answers_over_http(server):
    answer = get(f"{server}/finish?prompt=a+small&length=20")

    assert (answer["prompt"], len(answer["text"])) == ("a small", 20)
    assert answer["milliseconds"] >= 0
    assert get(f"{server}/healthz") == {"ok": True}


@pytest.mark.parametrize("path, status", [("/finish?length=0", 400), ("/finish?length=x", 400), ("/", 404)])
def test_a_wrong_request_is_reported(server, path, status):
    with pytest.raises(urllib.error.HTTPError) as refused:
        get(server + path)

    assert refused.value.code == status


def test_the_asker_prints_latencies_of_each_burst(charmodel, server, capsys):
    charmodel.ask(server, bursts=3, gap_seconds=0)

    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 3
    for line in lines:
        assert re.match(r"\d+ requests, latency ms: last \d+, median \d+, p95 \d+; ", line)
