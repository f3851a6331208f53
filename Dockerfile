# mmtvr with the tested lock. On the CPU:
#   docker build -t mmtvr .
#   docker run --rm --user "$(id -u):$(id -g)" -v "$PWD:/work" \
#       mmtvr train tpmcl_moving_shapes
# On a GPU, where the host has its driver and NVIDIA's container toolkit:
#   docker build --build-arg DEVICE=gpu -t mmtvr:gpu .
#   docker run --rm --gpus all --ipc host --user "$(id -u):$(id -g)" \
#       -v "$PWD:/work" mmtvr:gpu train tpmcl_msrvtt

FROM python:3.11-slim-bookworm AS build
WORKDIR /src
COPY . .
RUN pip wheel --no-cache-dir --no-deps --wheel-dir /wheels .

FROM python:3.11-slim-bookworm
ARG DEVICE=cpu
ARG EXTRAS=all
# What OpenCV links to, which mmaction2 imports.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install -y --no-install-recommends libgl1 libglib2.0-0 \
    && rm -rf /var/lib/apt/lists/*
COPY requirements/lock.txt /opt/mmtvr/
COPY --from=build /wheels /opt/mmtvr/wheels
# Without the index of CPU builds, pip takes PyTorch with its CUDA libraries.
RUN if [ "$DEVICE" = cpu ]; then \
        export PIP_EXTRA_INDEX_URL=https://download.pytorch.org/whl/cpu; \
    fi \
    && pip install --no-cache-dir -c /opt/mmtvr/lock.txt \
        --find-links /opt/mmtvr/wheels "mmtvr[$EXTRAS]" \
    && mmtvr --version
# Caches and results go where the folder of the user is mounted.
ENV HOME=/work
WORKDIR /work
USER 1000:1000
ENTRYPOINT ["mmtvr"]
CMD ["--help"]
