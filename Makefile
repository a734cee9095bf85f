# Two commands do everything, each with its own set-up in .venv:
#   make quickstart   trains, evaluates, exports and scores, offline on real digits
#   make test         lint, types and every test but the slow ones

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin

.PHONY: quickstart test test-slow lint docs clean

$(VENV)/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --upgrade "pip>=23" -c constraints.txt
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[dev]"
	touch $@

quickstart: $(VENV)/installed
	$(BIN)/keras-lodin quickstart

lint: $(VENV)/installed
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

test: lint
	$(BIN)/pytest --numprocesses 2 --dist loadfile

test-slow: $(VENV)/installed
	KERAS_LODIN_EXAMPLES=50 $(BIN)/pytest -m "slow or hypothesis"

docs: $(VENV)/installed
	$(BIN)/mkdocs build --strict

clean:
	rm -rf $(VENV)
