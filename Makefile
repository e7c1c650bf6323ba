# Two commands set everything up on a fresh machine: `make demo` and `make test`.
SHELL := /bin/bash
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
WORKERS ?= 2
SEED ?= 20261121

.PHONY: demo test torture bench lint format docs lock clean help
help:
	@echo "make demo     install into $(VENV) and run the main job for real, for everybody to see"
	@echo "make test     all tests; attacks are seeded samples"
	@echo "make torture  the same with every point of every attack (long; SEED=… for another choice)"
	@echo "make bench    measure recoverd beside restic, borg, rsync and cp (root; see benchmarks/README.md)"
	@echo "make lint     ruff, mypy --strict, import-linter"
	@echo "make format   put the code into its one style"
	@echo "make docs     run the commands of the pages and write what they print, the damage matrix, the figures and recoverd.yaml(5)"
	@echo "make lock     write requirements.lock anew from pyproject.toml"

$(STAMP): pyproject.toml requirements.lock
	@test -x $(BIN)/python || python3 -m venv $(VENV) 2>/dev/null || $(MAKE) --no-print-directory venv-package
	@$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	@$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

# Debian ships venv in a package of its own.
.PHONY: venv-package
venv-package:
	@rm -rf $(VENV)
	@if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	    apt-get install -y -qq python3-venv >/dev/null || (apt-get update -qq && apt-get install -y -qq python3-venv >/dev/null); \
	    python3 -m venv $(VENV); \
	else echo "python3 has no venv module: install it first (apt-get install python3-venv)" >&2; exit 1; fi

demo: $(STAMP)
	@$(BIN)/python tests/end_to_end/demo.py

test: $(STAMP)
	@$(BIN)/coverage erase
	$(BIN)/pytest -n $(WORKERS) --dist loadgroup --durations 15 --cov --cov-report=

torture: $(STAMP)
	RECOVERD_TORTURE=1 RECOVERD_SEED=$(SEED) $(BIN)/pytest -n $(WORKERS) --dist loadgroup --timeout 7200 \
	    -p no:cacheprovider --hypothesis-seed=$(SEED) tests/crash tests/damage/repository tests/damage/model \
	    tests/integration/databases tests/integration/spare/test_taking_over.py \
	    tests/end_to_end/test_killed.py tests/end_to_end/test_crowd.py tests/end_to_end/test_hostile_user.py

bench: $(STAMP)
	BIN=$(BIN) benchmarks/run $(ARGS)

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(STAMP)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: $(STAMP)
	$(BIN)/python man/generate.py
	$(BIN)/python -m tests.documentation.generate_pages
	$(BIN)/python -m benchmarks.pages

lock: $(STAMP)
	$(BIN)/pip install --quiet pip-tools
	$(BIN)/pip-compile --quiet --extra dev --generate-hashes --strip-extras --allow-unsafe --no-header \
	    --no-emit-index-url --no-emit-find-links --no-emit-trusted-host -o requirements.lock pyproject.toml

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .coverage*
