# The service on NVIDIA GPUs: CUDA 13 and cuDNN 9 from the base, onnxruntime-gpu in the place of onnxruntime.
#   docker build -f deploy/docker/service-gpu.Dockerfile -t axon:gpu .
# Pin the base by its digest where builds must be reproducible: --build-arg CUDA_IMAGE=...@sha256:...
ARG CUDA_IMAGE=docker.io/nvidia/cuda:13.0.2-cudnn-runtime-ubuntu24.04

FROM ${CUDA_IMAGE} AS python
RUN apt-get update && apt-get install --yes --no-install-recommends python3 python3-venv ca-certificates && rm -rf /var/lib/apt/lists/*

FROM python AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_ROOT_USER_ACTION=ignore
WORKDIR /source
RUN python3 -m venv /opt/axon && python3 -m venv /opt/sbom
COPY deploy/docker/requirements-gpu.txt deploy/docker/requirements-sbom.txt ./
RUN /opt/axon/bin/python -m pip install --only-binary :all: --require-hashes -r requirements-gpu.txt \
 && /opt/sbom/bin/python -m pip install --only-binary :all: --require-hashes -r requirements-sbom.txt
COPY pyproject.toml README.md LICENSE ./
COPY service service
COPY training training
RUN /opt/axon/bin/python -m pip install --no-deps --no-build-isolation . \
 && /opt/axon/bin/python -m pip uninstall --yes hatchling editables pathspec pluggy trove-classifiers \
 && /opt/axon/bin/python -m pip uninstall --yes setuptools pip \
 && find /opt/axon -type d -name tests -prune -exec rm -r {} + \
 && /opt/sbom/bin/cyclonedx-py environment --output-reproducible --output-file /opt/axon/sbom.cdx.json /opt/axon/bin/python

FROM python
ARG VERSION=0.0.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="axon" \
      org.opencontainers.image.description="Batched inference of ONNX models over HTTP and gRPC, on NVIDIA GPUs" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
COPY --from=build /opt/axon /opt/axon
# A version that would run on the CPU is refused: see "GPU" in README.md.
ENV PATH=/opt/axon/bin:${PATH} PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 MALLOC_ARENA_MAX=2 \
    NVIDIA_VISIBLE_DEVICES=all NVIDIA_DRIVER_CAPABILITIES=compute,utility \
    AXON_HOST=0.0.0.0 AXON_PORT=8000 AXON_REPOSITORY=/models AXON_PROVIDER=CUDAExecutionProvider
WORKDIR /var/lib/axon
USER 65532:65532
EXPOSE 8000 8001
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=3s --start-period=300s --retries=3 \
    CMD ["python3", "-c", "import os, urllib.request as u; u.urlopen('http://127.0.0.1:' + os.environ['AXON_PORT'] + '/v2/health/live', timeout=2)"]
ENTRYPOINT ["axon"]
CMD ["serve"]
