# btworker: `make` lists the targets. Each of them sets up all it needs in .venv, once; only Python 3.10-3.13, make and
# git have to be there. STACK=cu130 make <target> takes the newer pinned stack, in an environment of its own.

PYTHON ?= python3
DEFAULT_STACK := $(shell $(PYTHON) -c 'import sys; print("cu130" if sys.version_info >= (3, 13) else "cu121")')
STACK ?= $(DEFAULT_STACK)
VENV ?= $(if $(filter $(DEFAULT_STACK),$(STACK)),.venv,.venv-$(STACK))
BIN := $(VENV)/bin
PYTEST_ARGS ?=
BENCH ?= jobs scrape upload
DEMO_MODEL := btworker/demo/whisper-tiny-words.pt
export PYTHONUNBUFFERED := 1
# Where it is set, every start compiles all of torch again: the second start of the demo would be as slow as the first.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help setup demo fleet-setup fleet-demo serve test test-quick test-speech full test-clients test-clients-next test-fleet test-gpu wheel sbom chaos soak fuzz coverage lint format bench bench-peers bench-servers bench-gpu real real-check speakers-folder image-test unit-test locks check-locks audit clean

help: ## list the targets
	@echo "Stack $(STACK) in $(VENV) (choose with STACK=cu121 or STACK=cu130)"
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1|\2/p' $(MAKEFILE_LIST) | awk -F'|' '{ printf "%-20s %s\n", $$1, $$2 }'

setup: ## create or update the environment (every other target does this by itself)
	@$(PYTHON) tools/python_version.py "$(STACK)"
	@$(PYTHON) tools/setup_env.py --stack $(STACK) --venv "$(VENV)"

demo: setup ## transcribe the sample recording with the embedded model, through the real service
	@$(BIN)/python -m btworker demo $(DEMO_ARGS)

fleet-setup: setup
	@$(PYTHON) tools/fleet_env.py --stack-venv $(VENV) --venv $(VENV)-fleet

fleet-demo: fleet-setup ## three boxes on this machine, joined by Ray, transcribe the sample (Python 3.11; docs/fleet.md)
	@$(VENV)-fleet/bin/python tools/fleet_demo.py

serve: setup ## run the worker on 127.0.0.1:8477; WORKER_MODEL=large-v3 for real speech (settings: docs/configuration.md)
	@if [ -z "$$WORKER_TOKEN$$WORKER_TOKEN_FILE" ]; then \
		WORKER_TOKEN=$$($(BIN)/python -c 'import secrets; print(secrets.token_hex(16))'); export WORKER_TOKEN; \
		echo "WORKER_TOKEN is not set: one was made for this run. In another terminal: export WORKER_TOKEN=$$WORKER_TOKEN"; \
	fi; \
	if [ -z "$$WORKER_MODEL$$WORKER_MODELS" ]; then \
		export WORKER_MODEL=demo WORKER_MODELS=demo=$(DEMO_MODEL); \
		export WORKER_DIARIZATION_PIPELINE=$${WORKER_DIARIZATION_PIPELINE:-btworker/demo/diarization}; \
		echo "WORKER_MODEL is not set: this is the embedded demo model, which knows fewer than two hundred words"; \
	fi; \
	exec $(BIN)/python -m btworker serve $(SERVE_ARGS)

test: setup ## run the tests (LANE=page for one of its lanes, PYTEST_ARGS="tests/unit -x" for a part, by one pytest)
	@$(if $(PYTEST_ARGS),$(BIN)/python -m pytest $(PYTEST_ARGS),$(BIN)/python tools/run_tests.py $(if $(LANE),--lane "$(LANE)"))

test-quick: setup ## the unit and HTTP tests: under 2 minutes
	@$(BIN)/python tools/run_tests.py --quick

test-speech: setup ## the tests that need torch, on this stack (MARKS="speech and not media" for a part)
	@$(BIN)/python tools/run_tests.py --lane speech --lane "one at a time" --name speech-$(STACK) --marks "$(or $(MARKS),speech)"

full: ## what belongs to a release: full counts, both stacks, locks, clients from npm, fuzzing (hours; goes on where it was cut off)
	@tools/full.sh

test-clients: setup ## run real clients from npm against the worker (needs node 18 or newer and npm)
	@cd tests/clients && npm ci --no-audit --no-fund --loglevel=error
	@BTWORKER_CLIENTS=1 $(BIN)/python -m pytest tests/clients $(PYTEST_ARGS)

test-clients-next: setup ## run the openai package that needs a newer Node.js, with that one (220 MB from npm)
	@cd tests/clients/next && npm ci --ignore-scripts --no-audit --no-fund --loglevel=error
	@BTWORKER_CLIENTS=next $(BIN)/python -m pytest tests/clients/test_node.py -k openai $(PYTEST_ARGS)

test-fleet: fleet-setup ## a fleet on Ray: boxes, heads, gateways and front ends that are killed (Python 3.11; 2 minutes)
	@BTWORKER_FULL=1 $(BIN)/python -m pytest tests/fleet/test_fleet.py $(PYTEST_ARGS)
	@BTWORKER_RAY=1 $(VENV)-fleet/bin/python -m pytest tests/fleet -m ray $(PYTEST_ARGS)

test-gpu: setup ## run everything that needs an NVIDIA GPU
	@$(BIN)/python -m pytest tests/gpu -m gpu $(PYTEST_ARGS)

fuzz: setup ## mutated uploads for MINUTES=10, then CASES=10000 made from /openapi.json (Python 3.11), at a real server
	@$(BIN)/python -m tests.security.fuzz --minutes $(or $(MINUTES),10)
	@$(BIN)/python -W ignore -m tests.security.contract --cases $(or $(CASES),10000) $(if $(SEED),--seed $(SEED))

chaos: setup ## faults of every kind under load, then a look at what was lost (MINUTES=20, SEED=… replays one)
	@$(BIN)/python -m tests.chaos --minutes $(or $(MINUTES),20) $(if $(SEED),--seed $(SEED)) $(CHAOS_ARGS)

soak: setup ## modest load with 1 % faults for HOURS=1; memory and descriptors of the server
	@$(BIN)/python -m tests.chaos --soak-hours $(or $(HOURS),1) --jobs-per-second 1.5 $(if $(SEED),--seed $(SEED)) $(CHAOS_ARGS)

unit-test: ## install the systemd unit under a real systemd in namespaces, and live through its life (root; 10 GB of memory)
	@tools/unit_test.sh

image-test: setup ## build worker/Dockerfile without a registry and run it (root; 40 GB of disk; IMAGE_TEST_ARGS)
	@$(BIN)/python tools/image_test.py --stack $(STACK) $(IMAGE_TEST_ARGS)

wheel: setup ## build the packages of a release into dist/: wheel, source, and the wheel that the cu121 extra names
	@$(BIN)/python tools/packages.py

sbom: setup ## a CycloneDX bill of materials for each stack into dist/
	@$(BIN)/python tools/sbom.py --venv "$(VENV)-audit"

coverage: setup ## run the tests and report coverage, children included
	@$(BIN)/coverage erase
	@$(BIN)/coverage run -m pytest $(PYTEST_ARGS)
	@$(BIN)/coverage combine -q
	@$(BIN)/coverage report

lint: setup ## ruff, mypy and the architecture's import rules
	@status=0; \
	$(BIN)/ruff check . || status=1; \
	$(BIN)/ruff format --check . || status=1; \
	$(BIN)/mypy || status=1; \
	$(BIN)/lint-imports --no-logo || status=1; \
	exit $$status

format: setup ## let ruff format and repair what it can
	@$(BIN)/ruff check --fix-only .
	@$(BIN)/ruff format .

bench: setup $(if $(filter engine upload_peers,$(BENCH)),bench-peers) $(if $(filter upload_peers,$(BENCH)),bench-servers) ## measure this machine (BENCH="jobs" for one of them, BENCH_ARGS for its arguments)
	@set -e; for name in $(BENCH); do echo "== bench/$$name.py"; $(BIN)/python -W ignore "bench/$$name.py" $(BENCH_ARGS); done

bench-peers: setup ## what benches compare with (faster-whisper, transformers, Starlette), in an environment of their own
	-@$(PYTHON) tools/bench_peers.py --stack-venv $(VENV) --venv $(VENV)-bench

real: setup bench-peers ## word errors of real speech with OpenAI's weights, ours beside the others (RECORDINGS=DIR, REAL_ARGS="--model tiny.en")
	@PYTHONPATH=tools $(BIN)/python -W ignore -m bench.real $(if $(RECORDINGS),--recordings $(RECORDINGS)) $(REAL_ARGS)

speakers-folder: setup ## a pyannote pipeline that knows people's voices, without an account: FOLDER=DIR (fetches 81 MB once)
	@PYTHONPATH=tools $(BIN)/python -W ignore -m bench.real.pipeline_folder $(FOLDER)

real-check: setup ## OpenAI's weights on a minute and a half of people's voices, held to kept texts (fetches 133 MB once)
	@BTWORKER_REAL=1 $(BIN)/python -m pytest tests/real $(PYTEST_ARGS)

bench-servers: ## tus' server for Node.js, for `make bench BENCH=upload_peers` (needs node and npm)
	-@cd bench/peers && npm ci --ignore-scripts --no-audit --no-fund --loglevel=error

bench-gpu: setup ## on a GPU machine: tests/gpu and the engine's bench, into docs/benchmarks (minutes; nothing is downloaded)
	@status=0; \
	$(BIN)/python -m pytest tests/gpu -m gpu $(PYTEST_ARGS) || status=1; \
	$(BIN)/python -W ignore bench/engine.py --gpu --keep docs/benchmarks $(BENCH_ARGS) || status=1; \
	exit $$status

locks: setup ## resolve locks/*.in again and write locks/*.txt
	@$(BIN)/python tools/locks.py write

check-locks: setup ## check that every lock is current, and installs on every platform it is for
	@$(BIN)/python tools/locks.py check

audit: setup ## known vulnerabilities of both stacks' pinned packages, and what each means here
	@$(BIN)/python tools/audit.py --venv "$(VENV)-audit"

clean: ## remove environments, caches and outputs
	rm -rf .venv .venv-cu121 .venv-cu130 .venv*-bench .venv*-audit .venv*-fleet build dist *.egg-info .coverage .coverage.* demo-output bench-output
	rm -rf tests/clients/node_modules tests/clients/next/node_modules .mypy_cache .ruff_cache .pytest_cache .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
