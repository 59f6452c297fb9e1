# Everything a newcomer needs: `make demo`, then `make test`.
VENV ?= .venv
BIN := $(VENV)/bin
# The lock is for CPython 3.11 on 64-bit Linux; elsewhere the ranges of pyproject.toml are used.
LOCKED := $(shell python3 -c "import sys, platform; print(int(sys.version_info[:2] == (3, 11) and sys.platform == 'linux' and platform.machine() == 'x86_64'))")

.PHONY: setup demo test test-slow lint format bench lock clean

setup: $(VENV)/.ready  ## Make the virtual environment (about 2 minutes, once)

$(VENV)/.ready: requirements.lock pyproject.toml
	python3 -m venv $(VENV)
ifeq ($(LOCKED),1)
	$(BIN)/pip install --quiet --disable-pip-version-check -r requirements.lock
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --editable .
else
	$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[dev]'
endif
	touch $@

demo: setup  ## Train on real maps and real rain, score, draw (about 7 minutes on 2 cores)
	$(BIN)/tenkizu demo --output demo

test: setup  ## Run the tests (minutes)
	$(BIN)/python -m pytest

test-slow: setup  ## Run all tests, the long ones too
	$(BIN)/python -m pytest -m "slow or not slow" --timeout 3600

lint: setup  ## Check style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: setup
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: setup  ## Print the ratios behind every claim of speed
	for script in benchmarks/*.py; do $(BIN)/python $$script || exit 1; done

lock: setup  ## Write the exact versions of this environment
	$(BIN)/pip freeze --exclude-editable --disable-pip-version-check > requirements.lock

clean:
	rm -rf demo runs stores build dist
