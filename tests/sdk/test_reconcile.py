"""The ledger held against what a real llama-server counted itself."""

import openai
import pytest

from catalog import ALIAS, CHAT, EMBEDDING, MODELS_YAML, SLASHED
from processes import Farebox, REPO, until


@pytest.fixture
def gateway(tmp_path, idle_engine, embedding_engine, tokenizer_files):
    """A farebox of its own, so that nobody else's requests are between its samples."""
    gateway = Farebox(
        tmp_path,
        MODELS_YAML.format(
            chat=CHAT, alias=ALIAS, slashed=SLASHED, embedding=EMBEDDING,
            chat_url=idle_engine.url, embedding_url=embedding_engine.url,
            tokenizer=tokenizer_files / "tokenizer.json", template=REPO / "scripts/smollm2.jinja",
        ),
    )
    yield gateway
    gateway.stop()


def span_of(gateway, engine_number=0):
    """The comparison of one engine. That the command ends with 0, so that all is explained, is asserted by `cli`."""
    report = gateway.cli("ledger", "reconcile")
    assert report["explained"]
    return report["data"][engine_number]["span"]


def whys(compared):
    return {reason["why"] for reason in compared["reasons"]}


def test_what_llama_server_counted_is_what_was_charged(gateway, idle_engine, ask):
    gateway.cli("ledger", "reconcile")
    client = openai.OpenAI(base_url=gateway.url + "/v1", api_key=gateway.new_account("reconcile").key, max_retries=0)
    cached = 0
    for turn in range(3):  # the second and third find the first one's prompt in the engine's cache
        usage = client.chat.completions.create(**ask("Of the sea. " * 20, max_tokens=9, seed=turn)).usage
        cached += usage.prompt_tokens_details.cached_tokens
    for _ in client.chat.completions.create(**ask("Streamed.", stream=True, max_tokens=9)):
        pass
    client.embeddings.create(model=EMBEDDING, input=["one", "two of them"])

    chat, embedding = span_of(gateway), span_of(gateway, 1)
    assert cached > 0 and chat["prompt_excludes_cached"]
    for compared in (chat["prompt"], chat["generation"], embedding["prompt"]):
        assert compared["difference"] == 0 and compared["engine"] > 0, compared
    assert chat["cached_by_engine"] == chat["cached_by_ledger"] >= cached

    # llama-server reports the last of two choices and counts both.
    before = chat["generation"]
    client.chat.completions.create(**ask("Twice.", n=2, max_tokens=9, extra_body={"ignore_eos": True}))
    twice = span_of(gateway)
    assert twice["generation"]["engine"] - before["engine"] == 18
    assert twice["generation"]["difference"] == 9 and "engine_partial" in whys(twice["generation"])
    assert twice["prompt"]["difference"] == 0

    # A client that leaves.
    stream = client.chat.completions.create(**ask("Long.", stream=True, max_tokens=400, extra_body={"ignore_eos": True}))
    next(iter(stream))
    stream.close()
    until(lambda: idle_engine.requests_processing() == 0, 30, "the engine has nothing to do")
    until(lambda: "cut_short" in whys(span_of(gateway)["generation"]), 30, "the entry is there")
    client.close()
