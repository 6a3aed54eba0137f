# Two commands do everything on a fresh machine with Python 3.11+ and make:
#   make demo    the whole system on this machine, told step by step
#   make test    the tests, in some twelve minutes
# And two more, to check a change before each commit, and to check our figures:
#   make check   lint, types and fast tests, in a minute or so
#   make bench   how the tuning rules do on public traces: minutes, and a page in out/bench.html

PYTHON ?= python3
VENV := .venv
PY := $(VENV)/bin/python
# Whole files, the long ones first; tests that share a control plane stay together (tests/support/sharing.py). More processes
# than two cores need, since tests on control planes wait for Karpenter and helm a third of their time.
WORKERS := -n 6 --dist loadscope

# Some machines say so; here dozens of processes start, and each would compile our modules again.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help demo test check bench test-fast test-exhaustive test-soak test-sandbox test-oldest test-controllers lint collected setup clean

help:
	@sed -n '/^#/!q; s/^# //p' Makefile

setup: $(VENV)/.installed

# Without --no-compile, pip compiles every module of the CDK, which takes longer than the rest; Python compiles those that
# are imported.
$(VENV)/.installed: requirements.txt requirements-dev.txt constraints.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Slicewise needs Python 3.11 or later; this is %d.%d. Say which: make PYTHON=python3.12 ..." % sys.version_info[:2])'
	@echo "Installing the pinned packages into $(VENV): about a minute, once."
	@$(PYTHON) -m venv --clear $(VENV)
	@$(PY) -m pip install --quiet --disable-pip-version-check --no-compile -r requirements-dev.txt
	@$(PY) -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

demo: setup
	@$(PY) -m sandbox demo --out out/demo.json

test: setup
	@$(MAKE) --no-print-directory -j 2 lint collected
	@$(PY) -m sandbox build
	@$(PY) -m pytest -q $(WORKERS) -m "not exhaustive and not soak and not controllers"

# What `make test` does on some inputs, on all of them. CI runs it for each change.
test-exhaustive: setup
	@$(PY) -m pytest -q -n auto --dist loadscope -m "exhaustive and not soak"

# What one module decides, and which way modules import each other. As many processes as cores: nothing waits here.
check: setup lint
	@$(PY) -m pytest -q -n auto --dist loadscope -m "not slow and not exhaustive and not soak" tests/unit

bench: setup
	@$(PY) -m bench all --json out/bench.json --html out/bench.html

lint: setup
	@$(PY) -m ruff check .
	@$(PY) -m ruff format --check -q .
	@$(PY) -m mypy

# All tests compiled once, on the core that lint leaves idle: else each of pytest's processes compiles them again.
collected: setup
	@$(PY) -m pytest -qq --collect-only > .pytest_collected 2>&1 || { cat .pytest_collected; exit 1; }
	@rm .pytest_collected

test-fast: setup
	@$(PY) -m pytest -q $(WORKERS) -m "not sandbox and not exhaustive and not soak and not controllers"

test-soak: setup
	@$(PY) -m sandbox build
	@$(PY) -m pytest -q $(WORKERS) -m soak

# The scenarios once more, on the oldest Kubernetes and Karpenter that we build: minutes more for the build, once.
test-oldest: setup
	@$(PY) -m sandbox build --versions oldest
	@SLICEWISE_VERSIONS=oldest $(PY) -m pytest -q $(WORKERS) -m sandbox

# Real controllers beside a control plane: each is built once, which takes minutes and is told.
test-controllers: setup
	@$(PY) -m sandbox build --with all
	@$(PY) -m pytest -q -m controllers

test-sandbox: setup
	@$(PY) -m sandbox build
	@$(PY) -m pytest -q $(WORKERS) -m sandbox

clean:
	rm -rf $(VENV) cdk.out out build .pytest_cache .ruff_cache .hypothesis
