# mathtune in a container, for CPU or for NVIDIA GPUs:
#
#   docker build -t mathtune .
#   docker build -t mathtune --build-arg VARIANT=cuda .
#   docker run --rm -v "$PWD":/work -v mathtune-cache:/cache mathtune run demo
#   docker run --rm --gpus all -v "$PWD":/work -v mathtune-cache:/cache mathtune run gemma-2b-orca
#
# The working folder is /work, where runs/ appears; models and data are kept in /cache.
ARG VARIANT=cpu

FROM python:3.11-slim-bookworm AS cpu
# PyTorch's build without CUDA
ENV PIP_EXTRA_INDEX_URL=https://download.pytorch.org/whl/cpu

# The default build of PyTorch brings CUDA's libraries; the larger image has the C compiler that
# Triton needs.
FROM python:3.11-bookworm AS cuda

# hadolint ignore=DL3006
FROM ${VARIANT}
WORKDIR /src
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY src ./src
RUN pip install --no-cache-dir --constraint constraints.txt '.[gguf,wandb]' \
    && rm -rf /src/* \
    && useradd --create-home --uid 1000 mathtune \
    && mkdir --mode 1777 /work /cache
ENV HF_HOME=/cache/huggingface \
    MATHTUNE_CACHE=/cache/mathtune
USER 1000
WORKDIR /work
ENTRYPOINT ["mathtune"]
CMD ["--help"]
