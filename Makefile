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

.PHONY: install run serve test lint types check coverage models lock clean images gpu gpu-here faults-serving soak small-node chaos monitoring bench fuzz conformance-kserve proto
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

# What follows takes long, or needs more than Python; none of it is part of `make check`.

# Build and run the container images; needs root, buildah, debootstrap.
images: $(VENV)/.dev
	$(BIN)/pytest -q -m images tests/images

# On a machine with a CUDA device: its tests, then ResNet-50's shape against onnxruntime alone, into .axon/gpu.md.
gpu:
	$(MAKE) gpu-here VENV=.venv-gpu
gpu-here: $(VENV)/.gpu
	$(BIN)/pytest -q tests/gpu
	$(BIN)/python tests/gpu/benchmark.py --output .axon/gpu.md

$(VENV)/.gpu: $(VENV)/.dev
	$(BIN)/python -m pip uninstall --quiet --yes onnxruntime onnxruntime-gpu
	$(BIN)/python -m pip install --quiet --disable-pip-version-check 'onnxruntime-gpu[cuda,cudnn]==1.31.*'
	touch $@

# Restart, kill and flood a server under load; needs wrk and haproxy.
faults-serving: $(VENV)/.dev
	$(BIN)/python tests/faults/rolling_restart.py
	$(BIN)/python tests/faults/rolling_restart.py --workers 2
	$(BIN)/python tests/faults/kill_workers.py
	$(BIN)/python tests/faults/connection_flood.py

# Everything that goes wrong in a month, in half an hour: make chaos MINUTES=3
MINUTES ?= 30
chaos: $(VENV)/.dev
	PYTHONPATH=. $(BIN)/python tests/faults/chaos.py --minutes $(MINUTES)

# Alerts and dashboard against a real Prometheus, which brings promtool.
monitoring: $(VENV)/.dev
	promtool check rules deploy/monitoring/rules/axon.yaml
	promtool test rules deploy/monitoring/tests/axon.yaml
	PYTHONPATH=. $(BIN)/python tests/faults/scraped.py

# Serve under 1 CPU and 512 MB; needs root and control groups.
small-node: $(VENV)/.dev
	$(BIN)/python tests/faults/small_node.py

# Serving beside onnxruntime alone and a plain endpoint; needs wrk and two CPUs. BENCH='--models cnn --rounds 5' chooses.
bench: $(VENV)/.dev
	mkdir -p .axon
	$(BIN)/python tests/benchmarks/serving/bench.py .axon/serving.md $(BENCH)

# A thousand swaps of a version under load: answers and memory.
soak: $(VENV)/.dev
	$(BIN)/python tests/faults/swaps.py --swaps 1000

# A million damaged bodies for the decoders, then what the API description allows, for 20 minutes.
fuzz: $(VENV)/.dev
	$(BIN)/python tests/conformance/fuzz_codecs.py 1000000
	$(BIN)/python tests/conformance/schemathesis_run.py 1200

# KServe's own client, whose dependencies clash with ours.
conformance-kserve: $(VENV)/.dev
	$(PYTHON) -m venv .axon/kserve
	.axon/kserve/bin/pip install --quiet kserve==0.21.0
	AXON_KSERVE_PYTHON=.axon/kserve/bin/python $(BIN)/pytest -q tests/conformance/test_kserve_client.py

# The messages of gRPC, after a change of inference.proto.
proto: $(VENV)/.dev
	cd service/grpc && $(abspath $(BIN))/python -m grpc_tools.protoc -I. --descriptor_set_out=inference.binpb inference.proto

# Resolve again (needs uv). Every file is a set of hashes without any address, for every platform and Python >= 3.11.
LOCK = uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --no-annotate pyproject.toml
CPU = sys_platform == "linux" and platform_machine == "x86_64"
lock:
	printf '%s\n' 'tensorflow-cpu>=2.21,<2.22; $(CPU)' > build-train.in
	printf '%s\n' 'tensorflow>=2.21,<2.22; sys_platform != "linux" or platform_machine != "x86_64"' > build-override.in
	printf '%s\n' hatchling editables > build-service.in
	$(LOCK) build-train.in build-service.in --override build-override.in --extra train --extra dev -o requirements-dev.txt
	$(LOCK) build-train.in build-service.in --override build-override.in --extra train -c requirements-dev.txt -o requirements-train.txt
	$(LOCK) build-service.in -c requirements-dev.txt --extra storage -o requirements.txt
	$(LOCK) build-service.in -c requirements-dev.txt --extra storage --extra gpu --no-emit-package onnxruntime -o deploy/docker/requirements-gpu.txt
	printf '%s\n' 'cyclonedx-bom>=7' | $(LOCK:pyproject.toml=-) -o deploy/docker/requirements-sbom.txt
	rm -f build-train.in build-override.in build-service.in

clean:
	rm -rf $(VENV) .axon build dist .coverage*
