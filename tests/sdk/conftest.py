"""Two real engines and one farebox in front of them, for the whole run; an account of its own for each test."""

import itertools

import openai
import pytest

from processes import Farebox, LlamaServer

CHAT = "smollm2-135m-instruct"
ALIAS = "smollm2"
SLASHED = "HuggingFaceTB/SmolLM2-135M-Instruct"
EMBEDDING = "smollm2-embed"
# USD per million tokens: input, cached input, output.
PRICES = {CHAT: ("0.10", "0.02", "0.32"), SLASHED: ("1.30", "0.10", "2.60"), EMBEDDING: ("0.005", None, None)}

MODELS_YAML = """
models:
  - id: {chat}
    aliases: [{alias}]
    task: chat
    context_length: 4096
    max_output_tokens: 4096
    price: {{ input: "0.10", cached_input: "0.02", output: "0.32" }}
    engines: [{{ engine: llama-chat, serves: smollm2 }}]
  - id: {slashed}
    task: chat
    context_length: 4096
    max_output_tokens: 4096
    price: {{ input: "1.30", cached_input: "0.10", output: "2.60" }}
    engines: [{{ engine: llama-chat, serves: smollm2 }}]
  - id: {embedding}
    task: embedding
    context_length: 2048
    price: {{ input: "0.005" }}
    engines: [{{ engine: llama-embed, serves: smollm2-embed }}]
  - id: nobody-home
    task: chat
    context_length: 4096
    price: {{ input: "0.10", cached_input: "0.02", output: "0.32" }}
    engines: [{{ engine: gone, serves: nobody }}]
engines:
  - {{ name: llama-chat, kind: llama.cpp, url: "{chat_url}", max_concurrent: 64 }}
  - {{ name: llama-embed, kind: llama.cpp, url: "{embedding_url}", max_concurrent: 64 }}
  - {{ name: gone, kind: llama.cpp, url: "http://127.0.0.1:9", max_concurrent: 4 }}
limits:
  concurrent_requests: 200
"""

# In every prompt of the suite; test_silence.py looks for it afterwards in all that farebox wrote.
CANARY = "xylophone-canary-7f3a91"
# What engines answered, noted by the tests: it must be found nowhere either.
OUTPUTS_SEEN = []


def pytest_collection_modifyitems(items):
    items.sort(key=lambda item: item.get_closest_marker("last") is not None)


@pytest.fixture(scope="session")
def chat_engine(tmp_path_factory):
    engine = LlamaServer(
        "smollm2", tmp_path_factory.mktemp("engines") / "chat.log",
        "--parallel", "4", "-c", "16384", "--cache-reuse", "64", "--jinja",
    )
    yield engine
    engine.stop()


@pytest.fixture(scope="session")
def embedding_engine(tmp_path_factory):
    engine = LlamaServer(
        "smollm2-embed", tmp_path_factory.mktemp("engines") / "embedding.log",
        "--embeddings", "--pooling", "mean", "-ub", "2048",
    )
    yield engine
    engine.stop()


@pytest.fixture(scope="session")
def farebox(tmp_path_factory, chat_engine, embedding_engine):
    gateway = Farebox(
        tmp_path_factory.mktemp("farebox"),
        MODELS_YAML.format(
            chat=CHAT, alias=ALIAS, slashed=SLASHED, embedding=EMBEDDING,
            chat_url=chat_engine.url, embedding_url=embedding_engine.url,
        ),
    )
    yield gateway
    gateway.stop()


_numbers = itertools.count(1)


@pytest.fixture
def account(farebox, request):
    return farebox.new_account(f"{request.node.name[:40]}-{next(_numbers)}")


@pytest.fixture
def connect(farebox):
    """A client of the official SDK. It never retries here: what farebox answers is what the test sees."""
    clients = []

    def connect(key, base="/v1", **options):
        client = openai.OpenAI(base_url=farebox.url + base, api_key=key, **{"max_retries": 0, "timeout": 60} | options)
        clients.append(client)
        return client

    yield connect
    for client in clients:
        client.close()


@pytest.fixture
def client(connect, account):
    return connect(account.key)


@pytest.fixture
def ask():
    """A chat request's common part, with a prompt that carries the canary."""

    def ask(text="Say hello.", **more):
        return {"model": CHAT, "messages": [{"role": "user", "content": f"{CANARY}: {text}"}], "max_tokens": 24, **more}

    return ask
