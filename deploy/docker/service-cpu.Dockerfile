# The service on CPUs, without TensorFlow. Build at the root of the project:
#   docker build -f deploy/docker/service-cpu.Dockerfile -t axon:cpu .
# Pin the base by its digest where builds must be reproducible: --build-arg PYTHON_IMAGE=...@sha256:...
ARG PYTHON_IMAGE=docker.io/library/python:3.13-slim-bookworm

FROM ${PYTHON_IMAGE} AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_ROOT_USER_ACTION=ignore
WORKDIR /source
RUN python3 -m venv /opt/axon && python3 -m venv /opt/sbom
COPY requirements.txt deploy/docker/requirements-sbom.txt ./
RUN /opt/axon/bin/python -m pip install --only-binary :all: --require-hashes -r requirements.txt \
 && /opt/sbom/bin/python -m pip install --only-binary :all: --require-hashes -r requirements-sbom.txt
COPY pyproject.toml README.md LICENSE ./
COPY service service
COPY training training
# What only builds or tests goes again; the list of what stays is written beside it.
RUN /opt/axon/bin/python -m pip install --no-deps --no-build-isolation . \
 && /opt/axon/bin/python -m pip uninstall --yes hatchling editables pathspec pluggy trove-classifiers \
 && /opt/axon/bin/python -m pip uninstall --yes setuptools pip \
 && find /opt/axon -type d -name tests -prune -exec rm -r {} + \
 && /opt/sbom/bin/cyclonedx-py environment --output-reproducible --output-file /opt/axon/sbom.cdx.json /opt/axon/bin/python

FROM ${PYTHON_IMAGE}
ARG VERSION=0.0.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="axon" \
      org.opencontainers.image.description="Batched inference of ONNX models over HTTP and gRPC, on CPUs" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
COPY --from=build /opt/axon /opt/axon
# The address is explicit: inside a container loopback would reach nobody. Two malloc arenas keep the memory of many threads together.
ENV PATH=/opt/axon/bin:${PATH} PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 MALLOC_ARENA_MAX=2 \
    AXON_HOST=0.0.0.0 AXON_PORT=8000 AXON_REPOSITORY=/models
WORKDIR /var/lib/axon
USER 65532:65532
EXPOSE 8000 8001
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=3s --start-period=120s --retries=3 \
    CMD ["python3", "-c", "import os, urllib.request as u; u.urlopen('http://127.0.0.1:' + os.environ['AXON_PORT'] + '/v2/health/live', timeout=2)"]
ENTRYPOINT ["axon"]
CMD ["serve"]
