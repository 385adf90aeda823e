"""Ceilings as the official SDK meets them, in front of a real engine: what fits runs, what does not is a 402 and is not
tried again, and an answer that the money ends finishes with `length`."""

import openai
import pytest

from catalog import CHAT
from processes import until
from test_errors import check_shape

# USD of one completion token of CHAT.
TOKEN = 0.32 / 1_000_000


def credit(farebox, account, usd):
    farebox.cli("credit", "add", "--account", account.id, "--usd", f"{usd:.12f}", "--reference", f"{usd}")


def balance(farebox, account):
    return farebox.cli("balance", "--account", account.id)


def test_what_does_not_fit_is_refused_once(farebox, account, connect, ask):
    credit(farebox, account, 100 * TOKEN)
    tries = []
    client = connect(account.key, max_retries=5)
    client._client.event_hooks["request"] = [tries.append]
    with pytest.raises(openai.APIStatusError) as caught:
        client.chat.completions.create(**ask(max_tokens=4000))
    check_shape(caught.value, 402, "insufficient_balance")
    assert len(tries) == 1
    assert "could cost" in caught.value.body["message"] and "available" in caught.value.body["message"]
    # What fits is served, and nothing of the refused one is held.
    client.chat.completions.create(**ask(max_tokens=10))
    assert balance(farebox, account)["held"]["usd"] == "0"


def test_a_months_limit_of_a_key(farebox, account, connect, ask):
    key = farebox.cli("key", "create", "--account", account.id, "--name", "limited")
    farebox.cli("limit", "set", "--key", key["id"], "--monthly-usd", "0.000000000001")
    with pytest.raises(openai.APIStatusError) as caught:
        connect(key["secret"]).chat.completions.create(**ask(max_tokens=5))
    check_shape(caught.value, 402, "spending_limit_reached")
    # Another key of the account is free.
    connect(account.key).chat.completions.create(**ask(max_tokens=5))


@pytest.mark.parametrize("stream", [False, True])
def test_an_answer_ends_where_the_money_does(farebox, account, connect, stream):
    # The prompt's tokens are counted exactly: the model's tokenizer is in the catalog.
    request = {"model": CHAT, "messages": [{"role": "user", "content": "Count to a thousand."}], "temperature": 0}
    request["extra_body"] = {"ignore_eos": True}
    client = connect(account.key)
    prompt = client.chat.completions.create(**request, max_tokens=1).usage.prompt_tokens
    spent = float(balance(farebox, account)["balance"]["usd"])
    credit(farebox, account, -spent + prompt * 0.10 / 1_000_000 + 20 * TOKEN)
    if stream:
        request |= {"stream": True, "stream_options": {"include_usage": True}}
        chunks = list(client.chat.completions.create(**request))
        reasons = [choice.finish_reason for chunk in chunks for choice in chunk.choices if choice.finish_reason]
        usage = chunks[-1].usage
    else:
        answer = client.chat.completions.create(**request)
        reasons, usage = [answer.choices[0].finish_reason], answer.usage
    assert reasons == ["length"]
    assert usage.completion_tokens == 20
    # The cached part of the prompt costs less than was held for it, so a little is left, and never less than nothing.
    assert float(balance(farebox, account)["balance"]["usd"]) >= 0


def test_a_client_that_leaves_pays_and_holds_no_more(farebox, account, connect, ask):
    credit(farebox, account, 1)
    stream = connect(account.key).chat.completions.create(
        **ask(max_tokens=3000, stream=True, extra_body={"ignore_eos": True})
    )
    next(iter(stream))
    assert float(balance(farebox, account)["held"]["usd"]) > 0
    stream.close()
    until(lambda: balance(farebox, account)["held"]["usd"] == "0", 10, "nothing is held")
    assert 0 < float(balance(farebox, account)["balance"]["usd"]) < 1
