# `make demo` and `make test` do all the set-up a fresh machine needs; everything else is a line.
PYTHON ?= python3
KEEP ?=

.PHONY: demo test lint bench bench-guard setup check clean
demo: setup
	.venv/bin/visionstack demo $(if $(KEEP),--keep)

test: setup lint
	.venv/bin/pytest -m "not slow and not gpu"

lint: setup
	.venv/bin/ruff check . && .venv/bin/ruff format --check .
	.venv/bin/mypy
	.venv/bin/lint-imports

bench: setup
	.venv/bin/python -m benchmarks

bench-guard: setup
	.venv/bin/python -m benchmarks guard

setup: check .venv/installed node_modules/.package-lock.json

check:
	@$(PYTHON) scripts/check_machine.py

.venv/installed: requirements.txt constraints.txt pyproject.toml
	$(PYTHON) -m venv .venv
	.venv/bin/pip install --quiet --disable-pip-version-check -r requirements.txt -c constraints.txt
	.venv/bin/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	touch $@

node_modules/.package-lock.json: package.json package-lock.json
	npm ci --no-fund --no-audit --loglevel=error
	touch $@

clean:
	-.venv/bin/visionstack local down
	rm -rf .venv .venv-cloud .cloud .models build out cdk.out node_modules
