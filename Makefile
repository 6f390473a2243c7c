# `make` lists the targets. Everything is installed into .venv from requirements.lock; all that has to be there is make
# and python3, 3.11 or newer, with venv.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory
# Some containers forbid Python to keep what it has compiled. The tests start it hundreds of times: they would compile for
# a minute and a half.
export PYTHONDONTWRITEBYTECODE :=

PYTHON ?= python3
BIN := .venv/bin
BOOTSTRAPPED := .venv/.bootstrapped
READY := .venv/.ready
NATIVE := .venv/.native
INTEROP := .venv/interop/.ready
H2SPEC := .venv/interop/bin/h2spec
WHEELS := .venv/wheels
# Of tests, which wait for a third of their time: so many keep two processors busy.
WORKERS ?= 3
SERVE_ARGS ?=
BENCH_ARGS ?= echo
PYTEST_ARGS ?=
TAG ?= shoal:latest

# $(call install,ENVIRONMENT): the start of a command that installs into that environment, by uv where there is one.
install = $$(if [ -x $(BIN)/uv ]; then echo $(BIN)/uv pip install --quiet --python $(1)/bin/python; \
             else echo $(BIN)/python -m pip --python $(1)/bin/python install --quiet; fi)

# $(call build_native,FOLDER): the command that leaves the wheel of the native transport there, and nothing else.
build_native = { rm -rf $(1) && if [ -x $(BIN)/uv ]; \
	then $(BIN)/uv build --wheel --build-constraints requirements.lock --out-dir $(1) server/native; \
	else $(BIN)/python -m pip wheel --no-deps --wheel-dir $(1) server/native; fi; }

# What pip cannot do: lock for every platform, choose the lowest versions, check hashes of constraints.
needs_uv = [ -x $(BIN)/uv ] || { echo "this needs uv, which could not be had" >&2; exit 1; }

# Cargo as the wheel was built, so that lint and tests use what that has compiled: the same profile, the same PyO3, and
# one crate type at a time, as with two Cargo wants other code of the crates below, too. The crate itself is compiled by
# clippy's driver, which looks at it meanwhile: `cargo clippy` would look through all crates.
CARGO_ENV = RUSTC_WORKSPACE_WRAPPER=clippy-driver PYO3_BUILD_EXTENSION_MODULE=1 \
	$(addprefix PYO3_CONFIG_FILE=,$(abspath $(wildcard server/native/target/maturin/pyo3-config-*.txt)))
CARGO_FLAGS := --quiet --locked --release --manifest-path server/native/Cargo.toml --lib \
	--config profile.release.package.shoal-native.opt-level=0

.PHONY: help
help:  ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  %-15s %s\n", $$1, $$2}' $(firstword $(MAKEFILE_LIST))

# --- Environments ---------------------------------------------------------------------------------------------------

.PHONY: setup
setup: $(READY) $(NATIVE)  ## make .venv with everything in it (instant when nothing has changed)

$(READY): $(BOOTSTRAPPED) pyproject.toml
	@echo "installing the locked dependencies into .venv"
	@$(call install,.venv) --requirement .venv/others.lock
	@$(call install,.venv) --no-deps --no-build-isolation --editable .
	@touch $@

# The native transport, where there is cargo and it can reach its crates; what it takes is a minute of two cores.
.PHONY: native
native:  ## build the native transport anew
	@rm -f $(NATIVE)
	@$(MAKE) $(NATIVE)

CRATE := server/native/Cargo.toml server/native/Cargo.lock server/native/pyproject.toml \
         server/native/shoal_native.pyi $(wildcard server/native/src/*.rs server/native/src/*/*.rs)

# The wheel goes last, so that the environment is never left without one because a build has failed. It needs nothing of
# what the environment holds besides, so that both can be made at once.
$(NATIVE): $(BOOTSTRAPPED) $(CRATE)
	@if ! command -v cargo >/dev/null; then \
		echo "no cargo here: servers will run on grpcio, which carries about a twentieth of the calls"; \
	elif echo "building the native transport (once; a minute or more)" && $(call build_native,$(WHEELS)) >.venv/native.log 2>&1; then \
		$(call install,.venv) --no-deps --reinstall $(WHEELS)/shoal_native-*.whl; \
	else \
		echo "the native transport cannot be built here (see .venv/native.log): servers will run on grpcio"; \
	fi
	@touch $@

# uv comes from its own lines of the lock, hashes included; where it cannot be had, pip installs the rest.
$(BOOTSTRAPPED): requirements.lock
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Shoal needs Python 3.11 or newer; name one by: make PYTHON=python3.13 ..." >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || \
		{ echo "$(PYTHON) has no venv; on Debian and Ubuntu: apt-get install python3-venv" >&2; exit 1; }
	@[ -x $(BIN)/pip ] || $(PYTHON) -m venv .venv
	@awk '/^[a-z0-9]/ {file = /^uv==/ ? "uv" : "others"} {print > ".venv/" file ".lock"}' requirements.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --requirement .venv/uv.lock || \
		echo "uv could not be had; going on with pip, which is slower"
	@touch $@

.PHONY: install-server
install-server: $(BOOTSTRAPPED)  ## make an environment with the server alone: PREFIX=FOLDER
	@[ -n "$(PREFIX)" ] || { echo "say where: make install-server PREFIX=/opt/shoal" >&2; exit 1; }
	@$(needs_uv)
	@$(PYTHON) -m venv --without-pip "$(PREFIX)"
	@$(call install,$(PREFIX)) --compile-bytecode --reinstall-package shoal \
		--constraints requirements.lock --build-constraints requirements.lock '.[server]'
	@if command -v cargo >/dev/null; then \
		echo "building the native transport"; \
		$(call build_native,$(WHEELS)); \
		$(call install,$(PREFIX)) --no-deps $(WHEELS)/shoal_native-*.whl; \
	else \
		echo "no cargo here: the server will run on grpcio, which carries about a twentieth of the calls"; \
	fi

.PHONY: lock
lock: $(BOOTSTRAPPED)  ## refresh requirements.lock to the newest versions that pyproject.toml allows
	@$(needs_uv)
	$(BIN)/uv pip compile pyproject.toml --quiet --upgrade --universal --python-version 3.11 --all-extras \
		--generate-hashes --no-emit-index-url --no-header --output-file requirements.lock

# --- Serving --------------------------------------------------------------------------------------------------------

.PHONY: models
models: models/digits  ## train the demo models into models/, beside what else is there

# Each file is written whole, where it is not there yet; digits are the last.
models/digits: | $(READY)
	@echo "training the demo models into models/"
	@$(BIN)/python -m shoal_server.demo.models models

.PHONY: serve
serve: models $(NATIVE)  ## train the demo models and serve them (SERVE_ARGS="--address 127.0.0.1:9001")
	$(BIN)/shoal serve models $(SERVE_ARGS)

.PHONY: demo
demo: $(READY) $(NATIVE)  ## start a server, call it from many callers at once, show what it did
	$(BIN)/python -m shoal_server.demo

.PHONY: docker
docker:  ## build the image (TAG=shoal:latest)
	docker build --tag $(TAG) .

# --- Checks ---------------------------------------------------------------------------------------------------------

# Calls of pytest; where its options are given, they may select no test of some call.
pytest = $(BIN)/python -m pytest $(1) $(PYTEST_ARGS)$(if $(PYTEST_ARGS), || [ $$? -eq 5 ])

# While the crate is compiled and while tests wait, which they do for a quarter of their time, processors are idle.
# Whatever is no matter of time, and needs no crate, has that time; so have the tests that run once more.

.PHONY: test
test:  ## every check that CI runs: lint, and all tests but the long ones (PYTEST_ARGS="-k batch")
	@$(MAKE) --jobs 4 test-early test-python grpcio-beside crate-beside

VIRTUAL := tests/sim tests/property tests/unit
EARLY := tests/sim $(filter-out %/test_plain_requests.py,$(wildcard tests/property/test_*.py)) \
         $(addprefix tests/unit/,batching client lifecycle security sources tensors)

.PHONY: test-early
test-early: $(READY)
	$(call pytest,$(EARLY))

.PHONY: test-python
test-python: $(READY) $(NATIVE)
	$(call pytest,--numprocesses $(WORKERS) --dist worksteal $(addprefix --ignore ,$(EARLY)))

# What clients see must not depend on what carries it, so those tests run once more, beside the others; what they print
# comes when they are over.
.PHONY: grpcio-beside
grpcio-beside: $(NATIVE) test-early
	@if $(BIN)/python -c 'import shoal_native' 2>/dev/null; then \
		passed=0; $(MAKE) test-grpcio &>.venv/grpcio.log || passed=$$?; cat .venv/grpcio.log; exit $$passed; \
	fi

.PHONY: test-grpcio
test-grpcio:
	$(call pytest,--transport grpcio tests/integration/protocol tests/faults)

# Whoever imports a file of Python first compiles it, and all processes that run tests begin with the same. So while the
# wheel is built the first time, this is done for them; what may be wrong with it, they say.
.PHONY: lint-beside
lint-beside: $(READY)
	@nice -n 19 $(MAKE) lint-python
	@[ -e $(NATIVE) ] || nice -n 19 $(BIN)/python -m pytest --collect-only -qq &>/dev/null || true

.PHONY: crate-beside
crate-beside: $(NATIVE) lint-beside
	@if $(BIN)/python -c 'import shoal_native' 2>/dev/null; then nice -n 19 $(MAKE) lint-native test-crate; fi

.PHONY: test-crate
test-crate:
	$(CARGO_ENV) cargo test $(CARGO_FLAGS) --no-default-features

.PHONY: interop
interop: $(READY) $(NATIVE) $(INTEROP) $(if $(shell command -v go),$(H2SPEC))  ## install grpc-js (by npm) and h2spec (by go), and call by them
	$(BIN)/python -m pytest tests/interop $(PYTEST_ARGS)

# Once it is there, `make test` uses it too. Nothing of what npm installs is run while it is installed.
$(INTEROP): tests/interop/grpc_js/package.json tests/interop/grpc_js/package-lock.json | $(READY)
	@command -v npm >/dev/null || { echo "this needs node and npm" >&2; exit 1; }
	@mkdir -p $(@D) && cp $^ $(@D)
	@npm ci --prefix $(@D) --ignore-scripts --no-audit --no-fund --loglevel error
	@touch $@

# The newest version that is one to Go.
$(H2SPEC):
	@GOBIN=$(abspath $(@D)) go install github.com/summerwind/h2spec/cmd/h2spec@v2.2.1+incompatible

.PHONY: test-unit
test-unit: $(READY)  ## the tests without sockets and files: unit, property and sim
	$(call pytest,--numprocesses $(WORKERS) --dist worksteal $(VIRTUAL))

.PHONY: lint
lint: lint-python $(NATIVE)  ## ruff, mypy, import-linter, deptry, and whether the generated code is current
	@if $(BIN)/python -c 'import shoal_native' 2>/dev/null; then $(MAKE) lint-native; fi

.PHONY: lint-python
lint-python: $(READY)
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/deptry proto/shoal server client benchmarks
	$(BIN)/python proto/generate.py --check

.PHONY: lint-native
lint-native:
	cargo fmt --check --manifest-path server/native/Cargo.toml
	$(CARGO_ENV) cargo rustc $(CARGO_FLAGS) --crate-type rlib
	$(CARGO_ENV) cargo test $(CARGO_FLAGS) --no-default-features --no-run

.PHONY: format
format: $(READY)  ## format, and fix what ruff can fix safely
	$(BIN)/ruff check --fix-only
	$(BIN)/ruff format

.PHONY: generate
generate: $(READY)  ## write the Python code of the proto files again
	$(BIN)/python proto/generate.py

.PHONY: bench
bench: $(READY) $(NATIVE)  ## the ratio to a bare echo, or another benchmark (BENCH_ARGS="run steady")
	$(BIN)/python -m shoal_bench $(BENCH_ARGS)

PEERS_ARGS ?= --rounds 7 --record benchmarks/results/peers.json

.PHONY: bench-peers
bench-peers: $(READY) $(NATIVE) .venv-mlserver/.ready .venv-kserve/.ready  ## Shoal, MLServer and KServe under one load
	$(BIN)/python -m shoal_bench peers --mlserver .venv-mlserver --kserve .venv-kserve $(PEERS_ARGS)

# Each in an environment of its own: what they need contradicts what Shoal needs.
.venv-mlserver/.ready .venv-kserve/.ready: .venv-%/.ready:
	@rm -rf .venv-$* && $(PYTHON) -m venv .venv-$*
	@.venv-$*/bin/python -m pip install --quiet --disable-pip-version-check $* onnxruntime
	@touch $@

# The long ones have no limit per test: how long they run is what they are asked for.
LONG := --override-ini faulthandler_timeout=0 --timeout 0

.PHONY: sim-long
sim-long: $(READY)  ## many more seeds of the simulation and the state machines
	$(BIN)/python -m pytest --numprocesses $(WORKERS) -m slow $(LONG) tests/sim tests/property $(PYTEST_ARGS)

SEEDS ?= 10000
START ?= 0

.PHONY: sim-seeds
sim-seeds: $(READY)  ## play SEEDS (10000) scenarios of the simulation on all processors, from START (0) on
	@cd tests && ../$(BIN)/python -m shoal_testing.simulate --seeds $(SEEDS) --start $(START)

.PHONY: sim-million
sim-million:  ## the same with a million seeds; hours on two processors
	@$(MAKE) sim-seeds SEEDS=1000000

.PHONY: fuzz-long
fuzz-long: $(READY)  ## many more inputs for the fuzzers
	$(BIN)/python -m pytest --numprocesses $(WORKERS) -m slow $(LONG) tests/fuzz $(PYTEST_ARGS)

.PHONY: soak
soak: $(READY)  ## hours under load
	$(BIN)/python -m pytest -m soak $(LONG) tests/soak $(PYTEST_ARGS)

.PHONY: test-lowest
test-lowest: .venv-lowest/.ready  ## unit and integration tests on the oldest versions that pyproject.toml allows
	.venv-lowest/bin/python -m pytest tests/unit tests/integration $(PYTEST_ARGS)

# Two of the clients in the tests ask for a newer grpcio and protobuf than Shoal does, one of them because its generated
# code is newer. Hence overrides of our own bounds, and an older release of that client. The OTLP exporter's messages are
# generated by a newer protobuf, too, though they do not say so.
.venv-lowest/.ready: $(BOOTSTRAPPED) pyproject.toml Makefile
	@$(needs_uv)
	@rm -rf .venv-lowest && $(PYTHON) -m venv --without-pip .venv-lowest
	@sed -nE 's/^  "(grpcio|protobuf)>=([0-9.]+).*/\1==\2/p' pyproject.toml > .venv-lowest/overrides.txt
	@printf '%s\n' 'tritonclient[grpc]==2.71.0' 'googleapis-common-protos==1.70.0' >> .venv-lowest/overrides.txt
	@$(call install,.venv-lowest) --resolution lowest-direct --overrides .venv-lowest/overrides.txt \
		--build-constraints requirements.lock --editable '.[server,demo,bench,dev]'
	@touch $@

.PHONY: clean
clean:  ## remove everything that make and the tools have written
	rm -rf models/breast_cancer models/digits
	@rmdir models 2>/dev/null || true  # what else is in there is not ours
	rm -rf .venv .venv-lowest build dist server/native/target .hypothesis .mypy_cache .pytest_cache .ruff_cache .import_linter_cache
	find proto server client benchmarks tests -name __pycache__ -prune -exec rm -rf {} +
