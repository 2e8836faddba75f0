# Needs python3 (3.11 or later) and make; everything else is set up here.
#
#   make demo    the whole flow between stand-ins, in a few seconds: no account, no network
#   make demo-console   the demo, and the console in your browser
#   make test    the tests
#   make check   format, lint, types, architecture (make lint: without architecture)
#   make soak    the long crash runs (SOAK_KILLS=10000)
#   make texts   100,000 generated texts through the whole way of a message (TEXTS=100000)
#   make bench   the benchmarks, beside bench/baseline.json
#   make campaign   a campaign of 10,000 calls on PostgreSQL, three daemons, one killed every 10 s (campaign-big: 1,000,000 customers)
#   make commands   the command reference, from the help
#   make doctor-table   what doctor says for each fault, into docs/doctor.md
#   make command-pictures   a picture of each command on the demo's data, into docs/pictures/commands
#   make console-pictures   the pictures of the console in docs/ (needs Chromium)
#   make bench-peer  the relay and a Node service in turn (installs Debian and npm packages; root)

PYTHON ?= python3
VENV := .venv
RUN := .venv-run
SOURCES := $(shell find wa_relay -type f -not -name '*.pyc') pyproject.toml
PIP_QUIET := --quiet --disable-pip-version-check --no-input

# The tests start thousands of commands. Without bytecode each of them compiles every module that it loads.
export PYTHONDONTWRITEBYTECODE :=

.PHONY: help demo demo-console doctor-table run-env test check lint format soak texts mutants bench bench-peer campaign campaign-big picture command-pictures console-pictures \
	requirements clean

help:
	@sed -n 's/^#   //p' Makefile

demo: $(RUN)/.installed
	@$(RUN)/bin/wa-relay demo

demo-console: $(RUN)/.installed
	@$(RUN)/bin/wa-relay demo --console

run-env: $(RUN)/.installed

# Four workers on two cores: the tests wait for other processes more than they compute.
test: $(VENV)/.installed
	$(VENV)/bin/python -m pytest --numprocesses 4 --dist loadfile --no-loadscope-reorder

check: lint
	$(VENV)/bin/python -m pytest --quiet tests/test_architecture.py

lint: $(VENV)/.installed
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/ruff check .
	$(VENV)/bin/mypy

format: $(VENV)/.installed
	$(VENV)/bin/ruff check --fix .
	$(VENV)/bin/ruff format .

soak: $(VENV)/.installed
	$(VENV)/bin/python -m tests.crash --kills $(or $(SOAK_KILLS),10000)
	for seed in 1 2 3; do $(VENV)/bin/python -m tests.crash.several --events $(or $(SOAK_EVENTS),1000) --seed $$seed || exit 1; done
	$(VENV)/bin/python -m tests.crash.several --standby --events $(or $(SOAK_EVENTS),1000)
	$(VENV)/bin/python -m pytest -m soak

texts: $(VENV)/.installed
	$(VENV)/bin/python -m tests.texts --texts $(or $(TEXTS),100000)

mutants: $(VENV)/.installed
	$(VENV)/bin/python -m tests.crash.mutants

bench: $(VENV)/.installed
	$(VENV)/bin/python -m bench

bench-peer: $(VENV)/.installed bench/peer/node_modules/.installed
	$(VENV)/bin/python -m bench.compare --rounds $(or $(ROUNDS),3)

bench/peer/node_modules/.installed: bench/peer/package.json
	command -v npm >/dev/null || apt-get install --yes --quiet nodejs npm
	apt-get install --yes --quiet redis-server postgresql
	cd bench/peer && npm install --no-package-lock --no-audit --no-fund --silent
	@touch $@

campaign: $(VENV)/.installed
	$(VENV)/bin/python -m bench.campaign

campaign-big: $(VENV)/.installed
	$(VENV)/bin/python -m bench.campaign --conversations 1000000

commands: $(VENV)/.installed
	$(VENV)/bin/python docs/commands.py docs/commands.md

doctor-table: $(VENV)/.installed
	$(VENV)/bin/python -m tests.doctor docs/doctor.md

picture: $(RUN)/.installed
	$(RUN)/bin/python docs/picture.py docs/demo.svg

command-pictures: $(VENV)/.installed
	$(VENV)/bin/python docs/command_pictures.py docs/pictures/commands
	$(VENV)/bin/python docs/commands.py docs/commands.md

console-pictures: $(VENV)/.installed
	$(VENV)/bin/python docs/console_pictures.py docs/pictures

# Pinned with hashes, without the address of any index.
requirements: $(VENV)/.installed
	$(VENV)/bin/pip install $(PIP_QUIET) pip-tools
	$(VENV)/bin/pip-compile $(PIN) --output-file requirements.txt pyproject.toml
	$(VENV)/bin/pip-compile $(PIN) --extra dev --output-file requirements-dev.txt pyproject.toml
PIN := --quiet --generate-hashes --allow-unsafe --strip-extras --no-emit-index-url --no-emit-trusted-host \
	--no-emit-find-links --no-header --no-annotate

$(VENV)/.installed: requirements-dev.txt pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/pip install $(PIP_QUIET) --require-hashes -r requirements-dev.txt
	$(VENV)/bin/pip install $(PIP_QUIET) --no-deps --no-build-isolation --editable .
	@touch $@

$(RUN)/.requirements: requirements.txt
	$(PYTHON) -m venv $(RUN)
	$(RUN)/bin/pip install $(PIP_QUIET) --require-hashes -r requirements.txt
	@touch $@

# Installed as a user would, not in place: what is missing from the package shows here.
$(RUN)/.installed: $(RUN)/.requirements $(SOURCES)
	$(RUN)/bin/pip install $(PIP_QUIET) --no-deps --force-reinstall .
	@rm -rf build
	@touch $@

clean:
	rm -rf $(VENV) $(RUN) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
