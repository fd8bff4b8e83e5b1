# make demo   set up, relax a real set of molecules, verify a sample
# make test   set up, then lint, types, import contracts, tests
# make quick  tests without the slow ones

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: demo test quick lint bench clean

demo: $(VENV)/ready
	$(BIN)/python examples/demo.py

test: $(VENV)/ready lint
	$(BIN)/python -m pytest -n 2 --dist worksteal -q

quick: $(VENV)/ready
	$(BIN)/python -m pytest -n 2 --dist worksteal -q -m "not slow"

lint: $(VENV)/ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright
	$(BIN)/lint-imports --no-cache

bench: $(VENV)/ready
	$(BIN)/python -m benchmarks

$(VENV)/ready: requirements-dev.txt pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements-dev.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	touch $@

clean:
	rm -rf $(VENV) .pytest_cache .ruff_cache .hypothesis
