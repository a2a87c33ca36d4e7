# Everything runs in .venv with the versions of requirements*.txt, each checked by its hash.
#   make run      train the digits classifier, serve it, classify a held-out digit
#   make test     run the tests
#   make serve    serve the committed models/ (no TensorFlow)
#   make check    what CI runs: lint, types, tests with coverage
#   make install  only set up
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
HOST ?= 127.0.0.1
PORT ?= 8000

.PHONY: install run serve test lint types check coverage models lock clean
.DELETE_ON_ERROR:

install: $(VENV)/.dev

run: $(VENV)/.train
	$(BIN)/axon demo training/specs/digits.toml --repository .axon/models --host $(HOST) --port $(PORT)

serve: $(VENV)/.service
	$(BIN)/axon serve models --host $(HOST) --port $(PORT)

test: $(VENV)/.dev
	$(BIN)/pytest -q

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/.dev
	$(BIN)/mypy

coverage: $(VENV)/.dev
	$(BIN)/coverage erase
	COVERAGE_PROCESS_START=$(CURDIR)/pyproject.toml COVERAGE_FILE=$(CURDIR)/.coverage $(BIN)/coverage run -m pytest -q
	$(BIN)/coverage combine -q
	$(BIN)/coverage report

check: lint types coverage

# The committed models, each from its committed spec.
models: $(VENV)/.train
	for name in digits digits_cnn wine diabetes titanic fashion_mnist_cnn; do \
		$(BIN)/axon train training/specs/$$name.toml --repository models || exit 1; done

# Three environments, each a superset of the one before: service, + training, + development.
$(VENV)/.python:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Axon needs Python 3.11 or later; set PYTHON=python3.12, for example")'
	$(PYTHON) -m venv $(VENV)
	touch $@

$(VENV)/.service: requirements.txt pyproject.toml | $(VENV)/.python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	touch $@

$(VENV)/.train: requirements-train.txt $(VENV)/.service
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-train.txt
	touch $@

$(VENV)/.dev: requirements-dev.txt $(VENV)/.train
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-dev.txt
	touch $@

# Resolve again (needs uv). Every file is a set of hashes without any address, for every platform and Python >= 3.11.
LOCK = uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --no-annotate pyproject.toml
CPU = sys_platform == "linux" and platform_machine == "x86_64"
lock:
	printf '%s\n' 'tensorflow-cpu>=2.21,<2.22; $(CPU)' > build-train.in
	printf '%s\n' 'tensorflow>=2.21,<2.22; sys_platform != "linux" or platform_machine != "x86_64"' > build-override.in
	printf '%s\n' hatchling editables > build-service.in
	$(LOCK) build-train.in build-service.in --override build-override.in --extra train --extra dev -o requirements-dev.txt
	$(LOCK) build-train.in build-service.in --override build-override.in --extra train -c requirements-dev.txt -o requirements-train.txt
	$(LOCK) build-service.in -c requirements-dev.txt -o requirements.txt
	rm -f build-train.in build-override.in build-service.in

clean:
	rm -rf $(VENV) .axon build dist .coverage*
