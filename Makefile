# Everything a checkout needs: each target first sets up .venv from requirements.lock, hashes required, and reuses it;
# tests, benchmarks and the demo on a cluster also the jars of Kafka, which take Maven to fetch and Java 17 to run.

PYTHON ?= $(shell command -v python3.11 || command -v python3)
ARGS :=

BIN := .venv/bin
INSTALLED := .venv/.installed
KAFKA := .kafka/.installed
COMPILED := .venv/.compiled
FOLD := services/aggregator/splitgauge/aggregator
# Asks no registry whether a newer pyright exists: requirements.lock says which one is used.
export PYRIGHT_PYTHON_IGNORE_WARNINGS := 1

.PHONY: help setup broker demo demo-cluster test lint style types imports format lock benchmarks published

help:
	@echo "make demo     a whole experiment on this machine, from requests to a replayed decision (ARGS=--json, ...)"
	@echo "make demo-cluster   the same on a Kafka of three nodes, PostgreSQL, and each role in processes of its own"
	@echo "make test     all tests (ARGS=..., as pytest takes them)"
	@echo "make benchmarks   what is fast and what is not, as ratios in one run, some of them against peers that it installs: a quarter of an hour on an idle machine"
	@echo "make lint     ruff, mypy, pyright, import-linter; one by one: make style, types, imports"
	@echo "make published    schemas/published and docs/settings.md again from the models"
	@echo "make format   let ruff rewrite what it can"
	@echo "make lock     make requirements.lock again from pyproject.toml (ARGS=--upgrade: newest versions)"
	@echo "make setup    only .venv; make broker   only the jars of the Kafka brokers that are started here"

setup: $(INSTALLED)

# uv first, by its own lines of the lock: it installs the rest in a tenth of pip's time.
$(INSTALLED): requirements.lock pyproject.toml
	$(PYTHON) -m venv .venv
	sed -n '/^uv==/,/# via/p' requirements.lock > .venv/uv.txt
	$(BIN)/python -m pip --disable-pip-version-check install --quiet --require-hashes -r .venv/uv.txt
	$(BIN)/uv pip install --quiet --python $(BIN)/python --require-hashes -r requirements.lock
	$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation -e .
	touch $@

# Jars of a real broker, from Maven Central.
broker: $(KAFKA)

$(KAFKA): infra/kafka/pom.xml
	rm -rf .kafka
	mvn --quiet --batch-mode --file infra/kafka/pom.xml dependency:copy-dependencies -DoutputDirectory=$(CURDIR)/.kafka/libs
	touch $@

# The compiled fold, ahead of its first use: later processes load it in a second.
$(COMPILED): $(INSTALLED) $(wildcard $(addsuffix /*.py, $(FOLD) $(FOLD)/compiled schemas/splitgauge/schemas))
	$(BIN)/python -m splitgauge.aggregator.compiled.warm_up
	touch $@

demo: $(INSTALLED)
	$(BIN)/splitgauge demo $(ARGS)

demo-cluster: $(COMPILED) $(KAFKA)
	$(BIN)/splitgauge demo --cluster $(ARGS)

# One process per core of a small machine; the tests of one file stay together, as they share servers.
test: $(COMPILED) $(KAFKA)
	$(BIN)/python -m pytest -n 2 --dist loadfile $(ARGS)

benchmarks: $(COMPILED) $(KAFKA)
	for script in benchmarks/*.py; do $(BIN)/python $$script || exit 1; done

lint: style types imports

style: $(INSTALLED)
	$(BIN)/ruff check
	$(BIN)/ruff format --check

types: $(INSTALLED)
	$(BIN)/mypy .
	$(BIN)/pyright

imports: $(INSTALLED)
	$(BIN)/lint-imports --no-logo

format: $(INSTALLED)
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

published: $(INSTALLED)
	$(BIN)/python -m splitgauge.cli.publish
	$(BIN)/python -m splitgauge.cli.settings_reference > docs/settings.md

# uv leaves the address of the registry out, so that the file is the same wherever it is made.
lock:
	test -x $(BIN)/uv || { $(PYTHON) -m venv .venv && $(BIN)/python -m pip --disable-pip-version-check install --quiet uv; }
	$(BIN)/uv pip compile pyproject.toml --quiet --no-config --universal --fork-strategy fewest \
		--python-version 3.11 --all-extras --generate-hashes --custom-compile-command "make lock" --output-file requirements.lock $(ARGS)
