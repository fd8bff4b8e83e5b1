# make demo       set up, relax a real set of molecules, compare with RDKit and ASE, verify
# make test       set up, then lint, types, import contracts, every behaviour once
# make check      lint and the tests that matter most for what changed, in 90 seconds
# make test-all   the tests with all crossings, long draws and the suites of others
# make costs      what each test costs; make budgets writes that down (docs/testing.md)
# make bench      every figure that the project states

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Workers of the tests, and options for them: make test WORKERS=4 OPTIONS="-k cells --costs"
WORKERS := 2
OPTIONS :=
PYTEST := $(BIN)/python -m pytest -q -n $(WORKERS) --dist loadfile --no-loadscope-reorder

.PHONY: demo test check test-all tests extended costs budgets lint bench clean

demo: $(VENV)/ready
	$(BIN)/python examples/demo.py

# Lint takes one processor for as long as tests wait for each other.
test: $(VENV)/ready
	$(MAKE) --no-print-directory -j2 lint tests

test-all: lint
	$(PYTEST) $(OPTIONS)

check: lint
	$(PYTEST) -m "not extended" --quickly-compiled --check=70 $(OPTIONS)
	$(PYTEST) -m "exact and not extended" --check=0 $(OPTIONS) || test $$? = 5

# What `make test` runs besides lint, and what it leaves to `make test-all`.
tests: $(VENV)/ready
	$(PYTEST) -m "not extended" --quickly-compiled $(OPTIONS)
	$(PYTEST) -m "exact and not extended" $(OPTIONS) $$(grep -rl mark.exact tests)

extended: $(VENV)/ready
	$(PYTEST) -m extended $(OPTIONS)

costs: $(VENV)/ready
	$(PYTEST) --costs $(OPTIONS)

budgets: $(VENV)/ready
	$(PYTEST) -m "not extended" --write-budgets $(OPTIONS)

lint: $(VENV)/ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright
	$(BIN)/lint-imports --no-cache

bench: $(VENV)/ready
	$(BIN)/python -m benchmarks

$(VENV)/ready: requirements-dev.txt pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-compile -r requirements-dev.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	touch $@

clean:
	rm -rf $(VENV) .pytest_cache .ruff_cache .hypothesis
