# The training job: TensorFlow, the exporter and the service's package contract.
#   docker build -f deploy/docker/training.Dockerfile -t axon:training .
#   docker run --rm -v $PWD/specs:/specs:ro -v $PWD/models:/models axon:training train /specs/digits.toml --repository /models
ARG PYTHON_IMAGE=docker.io/library/python:3.13-slim-bookworm

FROM ${PYTHON_IMAGE} AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_ROOT_USER_ACTION=ignore
WORKDIR /source
RUN python3 -m venv /opt/axon && python3 -m venv /opt/sbom
COPY requirements.txt requirements-train.txt deploy/docker/requirements-sbom.txt ./
RUN /opt/axon/bin/python -m pip install --only-binary :all: --require-hashes -r requirements.txt \
 && /opt/axon/bin/python -m pip install --only-binary :all: --require-hashes -r requirements-train.txt \
 && /opt/sbom/bin/python -m pip install --only-binary :all: --require-hashes -r requirements-sbom.txt
COPY pyproject.toml README.md LICENSE ./
COPY service service
COPY training training
RUN /opt/axon/bin/python -m pip install --no-deps --no-build-isolation . \
 && /opt/axon/bin/python -m pip uninstall --yes setuptools pip \
 && /opt/sbom/bin/cyclonedx-py environment --output-reproducible --output-file /opt/axon/sbom.cdx.json /opt/axon/bin/python

FROM ${PYTHON_IMAGE}
ARG VERSION=0.0.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="axon-training" \
      org.opencontainers.image.description="Trains Keras models from specs and publishes them as ONNX packages" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
COPY --from=build /opt/axon /opt/axon
# Checkpoints go below the working directory: mount it, and a job that was preempted goes on where it was.
ENV PATH=/opt/axon/bin:${PATH} PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 HOME=/tmp MPLCONFIGDIR=/tmp/matplotlib
WORKDIR /workspace
RUN chown 65532:65532 /workspace
USER 65532:65532
STOPSIGNAL SIGTERM
ENTRYPOINT ["axon"]
CMD ["train", "/specs/spec.toml", "--repository", "/models"]
