"""
A language model small enough to read: it learns to spell from a few sentences, then finishes yours.

    python charmodel.py serve            train, then answer on http://127.0.0.1:8080
    python charmodel.py ask URL          send requests with idle gaps, and print how long they took

It is a real neural network (embeddings, one hidden layer, softmax, trained by gradient descent) in Python's
standard library alone, so that it runs anywhere: on a slice, on a laptop, in a test. Like most inference
servers it is idle most of the time, which is why four of them can share a GPU.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import random
import shutil
import statistics
import subprocess
import sys
import threading
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

TEXT = (
    "a graphics card is a big machine for small sums. a small model needs a small part of it. "
    "one model asks, the others wait; then the next one asks. when all of them sleep, the machine may sleep. "
    "share the card, keep the memory apart, and count the slices before you promise them. "
)
ALPHABET = sorted(set(TEXT))
CONTEXT, EMBEDDING, HIDDEN = 4, 6, 32


class CharModel:
    """
    Predicts the next character from the last `CONTEXT` ones.

    Rows of `embed` are characters; `hidden` and `out` are weight rows with their bias as the last element.
    """

    def __init__(self, seed: int = 1) -> None:
        self._random = random.Random(seed)
        size = len(ALPHABET)
        self.embed = self._weights(size, EMBEDDING, 1.0)
        self.hidden = self._weights(HIDDEN, CONTEXT * EMBEDDING + 1, 0.2)
        self.out = self._weights(size, HIDDEN + 1, 0.2)

    def _weights(self, rows: int, columns: int, scale: float) -> list[list[float]]:
        return [[self._random.gauss(0, scale) for _ in range(columns)] for _ in range(rows)]

    def forward(self, context: list[int]) -> tuple[list[float], list[float], list[float]]:
        """Inputs, hidden activations and the probability of each next character."""
        inputs = [value for index in context for value in self.embed[index]] + [1.0]
        active = [math.tanh(_dot(row, inputs)) for row in self.hidden] + [1.0]
        scores = [_dot(row, active) for row in self.out]
        highest = max(scores)
        powers = [math.exp(score - highest) for score in scores]
        total = sum(powers)
        return inputs, active, [power / total for power in powers]

    def learn(self, context: list[int], target: int, rate: float) -> float:
        """One step of gradient descent; returns the loss before it, in nats."""
        inputs, active, likely = self.forward(context)
        errors = [p - (index == target) for index, p in enumerate(likely)]
        back = [
            sum(error * row[unit] for error, row in zip(errors, self.out, strict=True))
            * (1 - active[unit] ** 2)
            for unit in range(HIDDEN)
        ]
        to_inputs = [
            sum(slope * row[i] for slope, row in zip(back, self.hidden, strict=True))
            for i in range(len(inputs) - 1)
        ]
        for error, row in zip(errors, self.out, strict=True):
            _descend(row, active, rate * error)
        for slope, row in zip(back, self.hidden, strict=True):
            _descend(row, inputs, rate * slope)
        for place, index in enumerate(context):
            _descend(self.embed[index], to_inputs[place * EMBEDDING : (place + 1) * EMBEDDING], rate)
        return -math.log(max(likely[target], 1e-12))

    def finish(self, prompt: str, length: int) -> str:
        """The prompt's continuation. Characters that the model never saw count as spaces."""
        told = "".join(character if character in ALPHABET else " " for character in prompt.lower())
        context = [ALPHABET.index(character) for character in told.rjust(CONTEXT)[-CONTEXT:]]
        said = []
        for _ in range(length):
            likely = self.forward(context)[2]
            (index,) = self._random.choices(range(len(ALPHABET)), weights=[p**1.5 for p in likely])
            said.append(ALPHABET[index])
            context = [*context[1:], index]
        return "".join(said)


def _dot(row: list[float], values: list[float]) -> float:
    return sum(map(float.__mul__, row, values))


def _descend(row: list[float], slopes: list[float], rate: float) -> None:
    for place, slope in enumerate(slopes):
        row[place] -= rate * slope


def train(model: CharModel, rounds: int, seed: int = 1) -> Iterator[float]:
    """The mean loss of each round over the text, in nats a character."""
    order = random.Random(seed)
    codes = [ALPHABET.index(character) for character in " " * CONTEXT + TEXT]
    samples = [(codes[i : i + CONTEXT], codes[i + CONTEXT]) for i in range(len(TEXT))]
    for done in range(rounds):
        order.shuffle(samples)
        rate = 0.1 * (1 - done / rounds) + 0.01
        yield statistics.fmean(model.learn(context, target, rate) for context, target in samples)


def serve(host: str, port: int, rounds: int) -> None:
    print(f"this pod sees: {gpu_seen()}", flush=True)
    started = time.perf_counter()
    model = CharModel()
    for done, loss in enumerate(train(model, rounds), start=1):
        if done in (1, rounds) or done % 10 == 0:
            print(f"round {done:3}: loss {loss:.2f} nats a character", flush=True)
    print(f"trained in {time.perf_counter() - started:.1f} s; listening on {host}:{port}", flush=True)
    ThreadingHTTPServer((host, port), handler(model)).serve_forever()


def gpu_seen() -> str:
    """
    What the driver shows in this container: under time-slicing the whole card, under MIG one part of it.
    """
    if shutil.which("nvidia-smi") is None:
        return "no GPU (it works all the same)"
    run = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, timeout=30, check=False)
    return run.stdout.strip() or run.stderr.strip()


def handler(model: CharModel) -> type[BaseHTTPRequestHandler]:
    one_at_a_time = threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            url = urllib.parse.urlsplit(self.path)
            if url.path == "/healthz":
                self.reply(200, {"ok": True})
            elif url.path == "/finish":
                self.finish_sentence(urllib.parse.parse_qs(url.query))
            else:
                self.reply(404, {"error": "ask /finish?prompt=a+small+model&length=60"})

        def finish_sentence(self, query: dict[str, list[str]]) -> None:
            prompt, length = query.get("prompt", [""])[0], query.get("length", ["60"])[0]
            if not length.isdecimal() or not 1 <= int(length) <= 1000:
                self.reply(400, {"error": f"length must be 1 to 1000, not {length!r}"})
                return
            with one_at_a_time:
                started = time.perf_counter()
                text = model.finish(prompt, int(length))
                milliseconds = (time.perf_counter() - started) * 1000
            self.reply(200, {"prompt": prompt, "text": text, "milliseconds": round(milliseconds, 1)})

        def reply(self, status: int, body: dict[str, object]) -> None:
            data = json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, format: str, *args: object) -> None:
            """Quiet: probes would fill the log."""

    return Handler


def ask(url: str, bursts: int | None, gap_seconds: float, seed: int = 7) -> None:
    """Bursts of one to five requests, then an idle gap: what an inference server of one team sees."""
    chance, latencies, done = random.Random(seed), [], 0
    while bursts is None or done < bursts:
        for _ in range(chance.randint(1, 5)):
            words = chance.sample(TEXT.split(), 3)
            query = urllib.parse.urlencode({"prompt": " ".join(words), "length": 60})
            started = time.perf_counter()
            with urllib.request.urlopen(f"{url}/finish?{query}", timeout=60) as answer:
                text = json.load(answer)["text"]
            latencies.append((time.perf_counter() - started) * 1000)
        done += 1
        recent = sorted(latencies[-200:])
        p95 = recent[min(len(recent) - 1, int(0.95 * len(recent)))]
        print(
            f"{len(latencies)} requests, latency ms: last {latencies[-1]:.0f}, median "
            f"{statistics.median(recent):.0f}, p95 {p95:.0f}; {words[-1]!r} goes on: {text[:30]!r}",
            flush=True,
        )
        if bursts is None or done < bursts:
            time.sleep(chance.expovariate(1 / gap_seconds) if gap_seconds else 0)


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True)
    server = commands.add_parser("serve")
    server.add_argument("--host", default=os.environ.get("HOST", "127.0.0.1"))
    server.add_argument("--port", type=int, default=8080)
    server.add_argument("--rounds", type=int, default=40, help="over the text; 40 take a few seconds")
    client = commands.add_parser("ask")
    client.add_argument("url")
    client.add_argument("--bursts", type=int, help="without it: for ever")
    client.add_argument("--gap", type=float, default=20.0, help="mean idle seconds between bursts")
    given = parser.parse_args(arguments)
    if given.command == "serve":
        serve(given.host, given.port, given.rounds)
    else:
        ask(given.url, given.bursts, given.gap)


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except KeyboardInterrupt:
        print("ended")
