# What can be done here: `make help`.
PYTHON ?= python3
BIN := .venv/bin

.DEFAULT_GOAL := help
.PHONY: help setup demo test simulate experiments codecs chaos mutations check lint types contracts wheel bench \
	peers versus big format clean up down logs test-containers container-figures

# The RabbitMQ that tests start private nodes of: the installed one, or BROKER=image:rabbitmq:4-management.
ifdef BROKER
export FEDMQ_TEST_RABBITMQ := $(BROKER)
endif

# A federation in containers: Compose 2 if it is there, else 1.29.
WORKERS ?= 3
PROJECT ?= $(or $(shell sed -n 's/^PROJECT=//p' deploy/.env 2> /dev/null),fedmq)
COMPOSE = $(shell docker compose version > /dev/null 2>&1 && echo docker compose || echo docker-compose)
FEDERATION_HERE = $(COMPOSE) -p $(PROJECT) --project-directory deploy -f deploy/compose.yaml

help: ## show this list
	@awk -F':.*## ' '/^[a-z-]+:.*## / { printf "  make %-17s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: ## make .venv with all that is needed (a second time is instant)
	@command -v $(PYTHON) >/dev/null || { echo "set-up: there is no $(PYTHON); install Python 3.11 or newer" \
		"(Debian and Ubuntu: apt-get install python3 python3-venv)" >&2; exit 1; }
	@$(PYTHON) scripts/set_up.py

demo: setup ## learn handwritten digits with 12 flaky workers on this machine
	@$(BIN)/fedmq demo

test: setup ## run the tests (RabbitMQ's on private nodes; ARGS="-k word" for some)
	@$(BIN)/pytest --numprocesses=auto --maxprocesses=4 --dist=worksteal $(ARGS)

up: ## a federation in containers: RabbitMQ, coordinator, WORKERS=3 (docs/how-to/deploy.md)
	@$(PYTHON) deploy/make_secrets.py
	@$(FEDERATION_HERE) up -d --build --scale worker=$(WORKERS)

down: ## take it down; what it knows stays in its volumes
	@$(FEDERATION_HERE) down

logs: ## what its containers say, until Ctrl-C
	@$(FEDERATION_HERE) logs -f --tail=100

test-containers: setup ## build the containers and kill each of them (skipped where there is no engine)
	@FEDMQ_TEST_CONTAINERS=1 $(BIN)/pytest tests/containers $(ARGS)

container-figures: setup ## sizes of the images, and seconds from a cold start to the first round
	@$(BIN)/python -m tests.containers

simulate: setup ## try SEEDS=1000 federations in virtual time, with every fault (FIRST=0)
	@$(BIN)/python scripts/simulate.py --seeds $(or $(SEEDS),1000) --first $(or $(FIRST),0) \
		$(if $(EVIDENCE),--evidence $(EVIDENCE))

experiments: setup ## compare algorithms on many kinds of devices, in virtual time (SEEDS=3)
	@OPENBLAS_NUM_THREADS=1 $(BIN)/python -m scripts.experiments $(if $(SEEDS),--seeds $(SEEDS))

codecs: setup ## measure what the codecs of updates save and cost (SEEDS=3)
	@OPENBLAS_NUM_THREADS=1 $(BIN)/python -m scripts.measure_codecs $(if $(SEEDS),--seeds $(SEEDS))

chaos: setup ## break federations on RabbitMQ for ten minutes (SEED=1, BROKER=image:…; EVIDENCE=file)
	@$(BIN)/python -m tests.chaos $(if $(SEED),--seed $(SEED)) \
		$(if $(EVIDENCE),--evidence $(EVIDENCE)) $(ARGS)

mutations: setup ## take each rule of the protocol away: does its test fail? (ONLY="§4 spool")
	@$(BIN)/python -m scripts.mutate $(ONLY) $(ARGS)

check: lint types contracts wheel ## lint, types, import contracts, wheel smoke test

lint: setup
	@$(BIN)/ruff check
	@$(BIN)/ruff format --check

types: setup
	@$(BIN)/mypy

contracts: setup
	@$(BIN)/lint-imports

wheel: setup
	@$(BIN)/python scripts/smoke_test_wheel.py

bench: setup ## run the benchmarks on a quiet machine, and write their page (ONLY=rounds for one)
	@$(BIN)/python -m benchmarks $(ONLY)

peers: setup ## install Flower and NVFlare to compare with, each in an environment of its own
	@$(BIN)/python -m benchmarks.peers.environments

versus: setup ## rounds of fedmq, Flower and NVFlare in the same minutes (a quarter of an hour)
	@$(BIN)/python -m benchmarks beside_peers

big: setup ## a model of 1 GB goes round with four workers (looks for memory and disk first)
	@$(BIN)/python -m benchmarks big

format: setup ## format the code, and fix what lint can fix
	@$(BIN)/ruff check --fix
	@$(BIN)/ruff format

clean: ## remove .venv, caches and builds (never a run's state)
	@rm -rf .venv build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache \
		.grimp_cache .coverage htmlcov
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
