"""Two real engines and one farebox in front of them, for the whole run; an account of its own for each test."""

import itertools

import openai
import pytest

from catalog import ALIAS, CANARY, CHAT, EMBEDDING, MODELS_YAML, SLASHED
from gguf_tokenizer import write
from processes import REPO, Farebox, LlamaServer, installed, until


def pytest_collection_modifyitems(items):
    items.sort(key=lambda item: item.get_closest_marker("last") is not None)


@pytest.fixture(scope="session")
def chat_engine(tmp_path_factory):
    engine = LlamaServer(
        "smollm2", tmp_path_factory.mktemp("engines") / "chat.log",
        "--parallel", "4", "-c", "16384", "--cache-reuse", "64",
    )
    yield engine
    engine.stop()


@pytest.fixture
def idle_engine(chat_engine):
    """The chat engine, once nothing of the tests before is left in it: what it counts is this test's."""
    until(lambda: chat_engine.requests_processing() == 0, 30, "the engine has nothing to do")
    return chat_engine


@pytest.fixture(scope="session")
def embedding_engine(tmp_path_factory):
    engine = LlamaServer(
        "smollm2-embed", tmp_path_factory.mktemp("engines") / "embedding.log",
        "--embeddings", "--pooling", "mean", "-ub", "2048",
    )
    yield engine
    engine.stop()


@pytest.fixture(scope="session")
def tokenizer_files(tmp_path_factory):
    """The tokenizer and the template that are in the GGUF file."""
    return write(installed()["MODEL"], tmp_path_factory.mktemp("tokenizer"))


@pytest.fixture(scope="session")
def farebox(tmp_path_factory, chat_engine, embedding_engine, tokenizer_files):
    gateway = Farebox(
        tmp_path_factory.mktemp("farebox"),
        MODELS_YAML.format(
            chat=CHAT, alias=ALIAS, slashed=SLASHED, embedding=EMBEDDING,
            chat_url=chat_engine.url, embedding_url=embedding_engine.url,
            tokenizer=tokenizer_files / "tokenizer.json", template=REPO / "scripts/smollm2.jinja",
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
        messages = [{"role": "user", "content": f"{CANARY}: {text}"}]
        return {"model": CHAT, "messages": messages, "max_tokens": 24, "temperature": 0, **more}

    return ask
