# `make demo` and `make test` do all the set-up a fresh machine needs; everything else is a line.
PYTHON ?= python3
KEEP ?=
# Of pytest, on two processors: tests of the embedded clouds wait half of their time.
PROCESSES ?= 3

.PHONY: demo test lint bench bench-guard gpu-check sbom setup check clean
demo: setup
	.venv/bin/visionstack demo $(if $(KEEP),--keep)

# Hundreds of its processes would each compile the same files where images of Python forbid bytecode.
test: setup lint
	VISIONSTACK_TESTS_END_WITH=$$PPID env -u PYTHONDONTWRITEBYTECODE .venv/bin/pytest -m "not slow and not gpu" \
	  --numprocesses $(PROCESSES) --no-loadscope-reorder

lint: setup
	.venv/bin/ruff check . && .venv/bin/ruff format --check .
	.venv/bin/mypy --num-workers auto
	.venv/bin/lint-imports

bench: setup
	.venv/bin/python -m benchmarks

bench-guard: setup
	.venv/bin/python -m benchmarks guard

# For a bare machine: its own Python and libraries, without `setup`.
gpu-check:
	$(if $(wildcard .venv/installed),.venv/bin/python,$(PYTHON)) -m benchmarks gpu_check

sbom: setup
	.venv/bin/python scripts/write_sbom.py

setup: check .venv/installed node_modules/.package-lock.json

check:
	@$(PYTHON) scripts/check_machine.py

# What is locked is all there is (--no-deps); a CPU build of torch wants no CUDA packages.
LOCKED = .venv/bin/pip install --quiet --disable-pip-version-check --no-deps --require-hashes

.venv/installed: requirements.lock requirements-cuda.lock pyproject.toml
	$(PYTHON) -m venv .venv
	$(LOCKED) -r requirements.lock
	.venv/bin/pip show torch | grep -q "^Version: .*+cpu" || $(LOCKED) -r requirements-cuda.lock
	.venv/bin/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	touch $@

node_modules/.package-lock.json: package.json package-lock.json
	npm ci --no-fund --no-audit --loglevel=error
	touch $@

clean:
	-.venv/bin/visionstack local down
	rm -rf .venv .venv-cloud .venv-cloud.lock .cloud .models build out cdk.out node_modules
