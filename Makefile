# Two commands do everything: `make demo` runs the tunnel, `make test` passes the tests.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.PHONY: demo test check lint types bench differential soak screenshots dist deploy-test image-test constraints clean help

help:  ## Show this list
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 14

$(READY): constraints.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or later is needed; set PYTHON=python3.11")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r constraints.txt
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

demo: $(READY)  ## Run API, agent and hub, perform the visit story through them (ONCE=1: then stop)
	$(BIN)/python -m examples.demo $(if $(ONCE),--once)

test: $(READY)  ## Run all tests
	$(BIN)/python -m pytest -n 5 --dist loadfile --no-loadscope-reorder $(ARGS)

check: lint types test  ## What CI runs: lint, types, tests

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(READY)
	$(BIN)/mypy

bench: $(READY)  ## Measure beside nginx and ssh -R (needs nginx, wrk, openssh-server)
	$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r constraints-bench.txt
	$(BIN)/python -m tests.bench $(ARGS)

differential: $(READY)  ## Malformed requests through the tunnel to real servers (Debian's as far as installed)
	$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r constraints-differential.txt
	tests/differential/debian.sh
	$(BIN)/python -m tests.differential $(ARGS)

soak: $(READY)  ## Load with a fault every few seconds, MINUTES=n (30); then nothing may be left over
	$(BIN)/python -m tests.reliability soak --minutes $(or $(MINUTES),30) --out reliability-results $(ARGS)

screenshots: $(READY)  ## Take the pictures of the docs, in 5 minutes (chromium chromium-driver)
	$(BIN)/python -m tests.pictures $(ARGS)

dist: $(READY)  ## Wheel, sdist, wheelhouse, .deb packages, SBOMs and their hashes into dist/ (on Debian 12)
	$(BIN)/python -m deploy.packages --out dist

deploy-test: $(READY)  ## Units, packages and first boot under a real systemd (root; deploy/packages/README.md names the tools)
	DEPLOY_TESTS=1 $(BIN)/python -m pytest -n 2 tests/deploy $(ARGS)

image-test: $(READY)  ## Build an image with packer, boot it twice (root; packer qemu-system-x86 qemu-utils mmdebstrap)
	$(BIN)/python -m tests.deploy.image $(ARGS)

COMPILE := uv pip compile pyproject.toml --generate-hashes --no-annotate --no-header \
	--python-version 3.11 --upgrade --quiet

constraints: $(READY)  ## Pin all dependencies anew, with hashes
	$(BIN)/pip install --quiet uv
	$(BIN)/$(COMPILE) --extra dev -o constraints.txt
	$(BIN)/$(COMPILE) --extra bench -c constraints.txt -o constraints-bench.txt
	$(BIN)/$(COMPILE) --extra differential -c constraints.txt -o constraints-differential.txt

clean:
	rm -rf $(VENV) dist build .mypy_cache .ruff_cache .pytest_cache .hypothesis
