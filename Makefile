# Tabcast's front door. `make help` lists the targets; setup_venv.sh does the setting up.

SETUP := pyproject.toml constraints-cpu.txt setup_venv.sh
BIN := .venv/bin

export PYTHON

.PHONY: all help demo demo-real test faults check format docs release clean

all: .venv/installed  ## set up .venv; the command is then .venv/bin/tabcast

help:  ## this list
	@sed -n 's/^\([a-z-]*\):.*## /make \1\t/p' Makefile | expand -t 18

demo: .venv/installed  ## complete code in a sample project: language server, engine and model pair, all real
	@$(BIN)/tabcast demo $(ARGS)

demo-real: .venv/installed  ## the same with a real code model in four languages; fetches 1.6 GB, once
	@$(BIN)/tabcast demo --real $(ARGS)

test: .venv/installed-dev  ## the whole test suite; `make test ARGS="-k demo"` passes arguments to pytest
	$(BIN)/python -m pytest $(ARGS)

faults: .venv/installed-dev  ## the fault campaign; hours, or minutes with `make faults ARGS="--faults short"`
	$(BIN)/python -m pytest tests/faults --faults full $(ARGS)

check: .venv/installed-dev  ## lint, formatting, types, import contracts
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo

format: .venv/installed-dev  ## put the code into its standard form
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

docs: .venv/installed-docs  ## the documentation as a site, in build/site; broken links end it
	@$(BIN)/python packaging/docs_site.py

release: .venv/installed-dev  ## wheel, sdist, VS Code extensions, checksums, notes, package manifests, into dist/
	@$(BIN)/python packaging/release.py $(ARGS)

clean:  ## remove .venv and everything that was built
	rm -rf .venv build dist .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	find decoding lsp_server tests -name __pycache__ -type d -prune -exec rm -rf {} +

.venv/installed: $(SETUP)
	@./setup_venv.sh
	@touch $@

.venv/installed-dev: $(SETUP)
	@./setup_venv.sh dev
	@touch .venv/installed $@

.venv/installed-docs: $(SETUP)
	@./setup_venv.sh docs
	@touch $@
