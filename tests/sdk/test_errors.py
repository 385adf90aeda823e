"""Each refusal arrives as the SDK's own exception class, in OpenAI's shape, and what it was for is not billed."""

import threading

import openai
import pytest

from catalog import CANARY, CHAT, EMBEDDING
from processes import until

LONG = {"max_tokens": 3000, "extra_body": {"ignore_eos": True}}


def check_shape(error, status, code):
    assert error.status_code == status
    assert error.code == code
    assert set(error.body) == {"message", "type", "param", "code"} and error.body["message"]
    assert error.request_id


@pytest.mark.parametrize("key", ["fb_" + "0" * 43, "sk-not-ours", "x"])
def test_a_wrong_key(connect, ask, key):
    with pytest.raises(openai.AuthenticationError) as caught:
        connect(key).chat.completions.create(**ask())
    check_shape(caught.value, 401, "invalid_api_key")
    assert len(key) < 3 or key not in str(caught.value)


def test_a_revoked_key_stops_at_once(farebox, account, connect, ask):
    made = farebox.cli("key", "create", "--account", account.id, "--name", "short-lived")
    client = connect(made["secret"])
    client.chat.completions.create(**ask(max_tokens=1))
    farebox.cli("key", "revoke", made["id"])
    with pytest.raises(openai.AuthenticationError):
        client.chat.completions.create(**ask(max_tokens=1))


@pytest.mark.parametrize("stream", [False, True])
def test_an_unknown_model(client, ask, stream):
    with pytest.raises(openai.NotFoundError) as caught:
        client.chat.completions.create(**ask(model="no/such-model", stream=stream))
    check_shape(caught.value, 404, "model_not_found")
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("no/such-model")


@pytest.mark.parametrize(
    "change, named",
    [
        ({"messages": []}, "messages"),
        ({"messages": CANARY}, "messages"),
        ({"model": 7}, "model"),
        ({"max_tokens": -5}, "max_tokens"),
        ({"max_tokens": "many"}, "max_tokens"),
        ({"stream": "yes"}, "stream"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_a_bad_request_names_its_field(client, ask, change, named):
    with pytest.raises(openai.BadRequestError) as caught:
        client.chat.completions.create(**ask(extra_body=change))
    assert caught.value.status_code == 400
    assert caught.value.body["type"] == "invalid_request_error"
    assert named in (caught.value.param or "") or named in caught.value.message


def test_a_prompt_longer_than_the_model_takes(client, ask):
    with pytest.raises(openai.BadRequestError) as caught:
        client.chat.completions.create(**ask("word " * 6000))
    check_shape(caught.value, 400, "context_length_exceeded")


def test_what_only_the_engine_can_refuse_is_passed_on(client, ask):
    with pytest.raises(openai.BadRequestError) as caught:
        client.chat.completions.create(**ask(extra_body={"grammar": "root ::= ("}))
    assert set(caught.value.body) == {"message", "type", "param", "code"}


def test_a_chat_model_does_not_embed(client):
    with pytest.raises(openai.BadRequestError):
        client.embeddings.create(model=CHAT, input=CANARY)


def test_no_engine_is_there(client, ask):
    with pytest.raises(openai.InternalServerError) as caught:
        client.chat.completions.create(**ask(model="nobody-home"))
    assert (caught.value.status_code, caught.value.code) in [(502, "engine_error"), (503, "no_engine_available")]
    assert "127.0.0.1" not in str(caught.value) and "gone" not in caught.value.message


def test_one_request_too_many(account, client, ask):
    account.limit(1)
    with client.chat.completions.create(**ask(stream=True, **LONG)) as held:
        next(iter(held))
        with pytest.raises(openai.RateLimitError) as caught:
            client.chat.completions.create(**ask())
        check_shape(caught.value, 429, "concurrency_limit_exceeded")
        assert "1" in caught.value.message
        headers = caught.value.response.headers
        assert float(headers["retry-after"]) >= 0 and int(headers["retry-after-ms"]) >= 0
        assert headers["x-ratelimit-limit-concurrent"] == "1"
        assert headers["x-ratelimit-remaining-concurrent"] == "0"

        account.limit(2)  # acts on the very next request, while the first goes on
        assert client.chat.completions.create(**ask(max_tokens=1)).choices

    account.limit(1)

    def free_again():
        try:
            return client.chat.completions.create(**ask(max_tokens=1))
        except openai.RateLimitError:
            return None

    until(free_again, 1, "the permit of a stream that was left is free again")


def test_a_limit_for_one_model_leaves_the_others_alone(account, client, ask):
    account.limit(1, model=CHAT)
    with client.chat.completions.create(**ask(stream=True, **LONG)) as held:
        next(iter(held))
        with pytest.raises(openai.RateLimitError):
            client.chat.completions.create(**ask())
        assert client.embeddings.create(model=EMBEDDING, input=CANARY).data


def test_the_retries_of_the_sdk_get_through_once_there_is_room(account, connect, ask):
    account.limit(1)
    patient, answers = connect(account.key, max_retries=5), []
    with connect(account.key).chat.completions.create(**ask(stream=True, **LONG)) as held:
        next(iter(held))
        refused = threading.Event()
        patient._client.event_hooks["response"] = [lambda answer: answer.status_code == 429 and refused.set()]
        waiting = threading.Thread(
            target=lambda: answers.append(patient.chat.completions.create(**ask(max_tokens=1))), daemon=True
        )
        waiting.start()
        assert refused.wait(10)
    waiting.join(30)
    assert answers and answers[0].choices


def test_a_client_that_is_out_of_time(connect, account, ask, idle_engine):
    with pytest.raises(openai.APITimeoutError):
        connect(account.key, timeout=0.5).chat.completions.create(**ask(**LONG))
    # llama.cpp looks once a second whether a client that does not stream is still there, and not at all while it is
    # asked for anything else, its metrics too: so they are asked for seldom.
    until(lambda: idle_engine.requests_processing() == 0, 6, "the slot of a request that timed out is free", pause_s=1.5)


def test_refusals_are_not_billed(farebox, account, client, ask):
    for bad in (ask(model="no/such-model"), ask(extra_body={"messages": []})):
        with pytest.raises(openai.APIStatusError):
            client.chat.completions.create(**bad)
    assert farebox.usage_of(account)["completion_tokens"] == 0
    assert farebox.usage_of(account)["cost"] == 0
