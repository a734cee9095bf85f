# Two commands do everything, each with its own set-up in .venv:
#   make quickstart   trains, evaluates, exports and scores, offline on real digits
#   make test         lint, types and every test but the slow ones; the core on JAX and PyTorch too

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin

# JAX and PyTorch, and no TensorFlow.
BACKENDS := jax torch
CORE := $(VENV)-core
# What runs side by side prints when it ends; the make of macOS cannot hold it back.
SYNC := $(if $(filter output-sync,$(.FEATURES)),--output-sync)
# Python compiles what it imports; pip would compile everything.
INSTALL := install --quiet --disable-pip-version-check --no-compile -c constraints.txt

.PHONY: quickstart test test-all test-core test-core-tensorflow test-slow test-beam lint docs clean $(BACKENDS:%=test-core-%) \
	$(BACKENDS:%=test-core-slow-%)

# The one pip that fills both environments.
$(BIN)/pip:
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip $(INSTALL) --upgrade "pip>=23"

$(VENV)/installed: pyproject.toml constraints.txt | $(BIN)/pip
	$(BIN)/pip $(INSTALL) -e ".[test]"
	touch $@

$(VENV)/documents: $(VENV)/installed
	$(BIN)/pip $(INSTALL) -e ".[dev]"
	touch $@

quickstart: $(VENV)/installed
	$(BIN)/keras-lodin quickstart

lint: $(VENV)/installed
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

# Two at a time: making an environment, checking types and the core of a backend keep one processor busy each,
# beside the tests on TensorFlow, which take the longest. In one process JAX compiles once what two compile each.
test:
	$(MAKE) --jobs 2 $(SYNC) lint test-all $(BACKENDS:%=test-core-%)

test-all: $(VENV)/installed
	$(BIN)/pytest --numprocesses 2 --dist loadfile

# The tests of what every backend does: KERAS_BACKEND=jax make test-core
test-core: test-core-$(or $(KERAS_BACKEND),jax)

test-core-tensorflow: $(VENV)/installed
	KERAS_BACKEND=tensorflow $(BIN)/pytest --numprocesses 2 tests/core

$(BACKENDS:%=test-core-%): test-core-%: $(CORE)/installed
	KERAS_BACKEND=$* $(CORE)/bin/pytest tests/core

# PyTorch for processors alone, from where its makers keep it, or else what the usual index has.
$(CORE)/installed: pyproject.toml requirements/without-tensorflow.txt constraints.txt | $(BIN)/pip
	$(PYTHON) -m venv --without-pip $(CORE)
	$(BIN)/pip --python $(CORE) $(INSTALL) --index-url https://download.pytorch.org/whl/cpu --retries 0 --timeout 10 \
		torch >/dev/null 2>&1 || $(BIN)/pip --python $(CORE) $(INSTALL) torch
	$(BIN)/pip --python $(CORE) $(INSTALL) -r requirements/without-tensorflow.txt jax hypothesis pytest
	$(BIN)/pip --python $(CORE) $(INSTALL) --no-deps -e .
	touch $@

test-slow: $(VENV)/documents
	KERAS_LODIN_EXAMPLES=50 $(BIN)/pytest -m "slow or hypothesis"
	$(MAKE) $(BACKENDS:%=test-core-slow-%)

$(BACKENDS:%=test-core-slow-%): test-core-slow-%: $(CORE)/installed
	KERAS_BACKEND=$* $(CORE)/bin/pytest -m slow tests/core

# Apache Beam with Dask, which need older packages than the environment of all other tests has.
test-beam: $(VENV)-beam/installed
	$(VENV)-beam/bin/pytest -m "slow or not slow" tests/workflows/beam

# Without the constraints; one of Beam's own packages is built by an older setuptools.
$(VENV)-beam/installed: pyproject.toml
	$(PYTHON) -m venv $(VENV)-beam
	$(VENV)-beam/bin/pip install --quiet --disable-pip-version-check "setuptools<81" wheel
	$(VENV)-beam/bin/pip install --quiet --disable-pip-version-check --no-build-isolation crcmod dill
	$(VENV)-beam/bin/pip install --quiet --disable-pip-version-check -e ".[beam]" hypothesis pytest
	touch $@

docs: $(VENV)/documents
	$(BIN)/mkdocs build --strict

clean:
	rm -rf $(VENV) $(CORE) $(VENV)-beam
