"""Embeddings in every form of input and output, and the model list, through openai-python."""

import pytest

from catalog import ALIAS, CANARY, CHAT, EMBEDDING, PRICES, SLASHED

DIMENSIONS = 576  # SmolLM2-135M's hidden size
BASES = pytest.mark.parametrize("base", ["/v1", "/v1/openai"])


def vectors(answer):
    assert [item.index for item in answer.data] == list(range(len(answer.data)))
    assert all(len(item.embedding) == DIMENSIONS for item in answer.data)
    return [item.embedding for item in answer.data]


@BASES
def test_base64_as_the_sdk_asks_for_by_default_equals_floats(connect, account, base):
    client = connect(account.key, base)
    by_default = client.embeddings.create(model=EMBEDDING, input=f"{CANARY} a fare box")
    floats = client.embeddings.create(model=EMBEDDING, input=f"{CANARY} a fare box", encoding_format="float")
    assert vectors(by_default)[0] == pytest.approx(vectors(floats)[0], abs=1e-5)
    raw = client.with_raw_response.embeddings.create(
        model=EMBEDDING, input=f"{CANARY} a fare box", encoding_format="base64"
    )
    assert '"embedding":"' in raw.text.replace('": "', '":"')


def test_usage_is_priced(client):
    usage = client.embeddings.create(model=EMBEDDING, input=f"{CANARY} a fare box").usage
    assert usage.prompt_tokens == usage.total_tokens > 0
    assert usage.estimated_cost == pytest.approx(usage.prompt_tokens * float(PRICES[EMBEDDING][0]) / 1e6, rel=1e-9)


@pytest.mark.parametrize("encoding", ["float", "base64"])
def test_a_list_of_strings(client, encoding):
    answer = client.embeddings.create(model=EMBEDDING, input=[CANARY, "two", "three"], encoding_format=encoding)
    assert len(answer.data) == 3


@pytest.mark.parametrize("tokens, count", [([504, 253, 1187], 1), ([[504, 253], [1187, 28, 905]], 2)])
def test_token_arrays(client, tokens, count):
    answer = client.embeddings.create(model=EMBEDDING, input=tokens)
    assert len(vectors(answer)) == count
    assert answer.usage.prompt_tokens > 0


@BASES
def test_the_model_list(connect, account, base):
    listed = {model.id: model for model in connect(account.key, base).models.list()}
    assert {CHAT, SLASHED, EMBEDDING} <= set(listed)
    assert all(model.object == "model" and model.owned_by for model in listed.values())


@BASES
@pytest.mark.parametrize("name", [CHAT, ALIAS, SLASHED, EMBEDDING])
def test_one_model_also_with_slashes_in_its_name(connect, account, base, name):
    model = connect(account.key, base).models.retrieve(name)
    assert model.object == "model"
    assert model.id in (name, CHAT)  # an alias may answer with the model that it means
