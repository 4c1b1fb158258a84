# Protscribe for GPUs. Built by you, not by us:
#   docker build -t protscribe .
#   docker run --gpus all -v "$PWD:/data" protscribe predict bundle=/data/bundle input=/data/proteome.fasta output=/data/answers/
# Another build of PyTorch: --build-arg TORCH_INDEX=https://download.pytorch.org/whl/cu130 (or .../cpu)
FROM python:3.12-slim

ARG TORCH_INDEX=https://download.pytorch.org/whl/cu128
ARG EXTRAS=""

ENV PYTHONUNBUFFERED=1 PIP_NO_CACHE_DIR=1 HF_HOME=/cache/huggingface
RUN pip install "torch>=2.10" --index-url "$TORCH_INDEX"

WORKDIR /src
COPY pyproject.toml README.md LICENSE ./
COPY src src
COPY configs configs
RUN pip install ".${EXTRAS}" && rm -rf /src

# Signals must reach the program: a stop drops the shard in progress and ends with status 75.
STOPSIGNAL SIGTERM
WORKDIR /data
ENTRYPOINT ["protscribe"]
CMD ["--help"]
