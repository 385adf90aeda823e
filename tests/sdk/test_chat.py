"""Chat and plain completions through openai-python, under both bases."""

import json
from typing import Literal

import pydantic
import pytest

from catalog import ALIAS, CANARY, CHAT, PRICES, SLASHED, tool_request

BASES = pytest.mark.parametrize("base", ["/v1", "/v1/openai"])

def check_usage(usage, model):
    """Counts that add up, and DeepInfra's estimated_cost: what the price list says, in USD."""
    cached = usage.prompt_tokens_details.cached_tokens if usage.prompt_tokens_details else 0
    completion = getattr(usage, "completion_tokens", 0)
    assert usage.prompt_tokens > 0 and 0 <= cached <= usage.prompt_tokens
    assert usage.total_tokens == usage.prompt_tokens + completion
    price_in, price_cached, price_out = map(float, PRICES[model])
    expected = ((usage.prompt_tokens - cached) * price_in + cached * price_cached + completion * price_out) / 1e6
    assert usage.estimated_cost == pytest.approx(expected, rel=1e-9)


@BASES
@pytest.mark.parametrize("model", [CHAT, ALIAS, SLASHED])
def test_a_chat(connect, account, ask, base, model):
    answer = connect(account.key, base).chat.completions.create(**ask(model=model))
    assert answer.object == "chat.completion"
    assert answer.choices[0].message.role == "assistant"
    assert answer.choices[0].message.content
    assert answer.choices[0].finish_reason in ("stop", "length")
    assert answer._request_id
    check_usage(answer.usage, CHAT if model == ALIAS else model)


@BASES
@pytest.mark.parametrize("options", [None, {}, {"include_usage": False}, {"include_usage": True}], ids=str)
def test_a_streamed_chat(connect, account, ask, base, options):
    more = {} if options is None else {"stream_options": options}
    chunks = list(connect(account.key, base).chat.completions.create(**ask(stream=True, **more)))
    assert {chunk.object for chunk in chunks} == {"chat.completion.chunk"}
    assert len({chunk.id for chunk in chunks}) == 1

    answering = [chunk for chunk in chunks if chunk.choices]
    text = "".join(chunk.choices[0].delta.content or "" for chunk in answering)
    assert text
    assert [c.choices[0].finish_reason for c in answering if c.choices[0].finish_reason] in (["stop"], ["length"])
    assert all(chunk.usage is None for chunk in answering), "only the chunk after the last choice carries the usage"

    if (options or {}).get("include_usage"):
        assert answering == chunks[:-1] and chunks[-1].choices == []
        check_usage(chunks[-1].usage, CHAT)
    else:
        assert answering == chunks, "a usage chunk that was not asked for"


def test_the_stream_helper_of_the_sdk(client, ask):
    # It raises where an answer ends at its max_tokens, so here is one that ends by itself.
    request = ask(stream_options={"include_usage": True}, extra_body={"grammar": 'root ::= "Good day."'})
    with client.chat.completions.stream(**request) as stream:
        text = "".join(event.delta for event in stream if event.type == "content.delta")
        final = stream.get_final_completion()
    assert final.choices[0].message.content == text
    check_usage(final.usage, CHAT)


def test_a_tool_call(client, ask):
    answer = client.chat.completions.create(**ask(**tool_request()))
    choice = answer.choices[0]
    assert choice.finish_reason == "tool_calls"
    call = choice.message.tool_calls[0]
    assert call.type == "function" and call.id and call.function.name == "get_weather"
    assert json.loads(call.function.arguments)["city"] in ("Paris", "Rome")


def test_a_streamed_tool_call(client, ask):
    name, arguments, finish = "", "", None
    for chunk in client.chat.completions.create(**ask(**tool_request(), stream=True)):
        for call in chunk.choices[0].delta.tool_calls or []:
            name += call.function.name or ""
            arguments += call.function.arguments or ""
        finish = chunk.choices[0].finish_reason or finish
    assert (name, finish) == ("get_weather", "tool_calls")
    assert json.loads(arguments)["city"] in ("Paris", "Rome")


def test_a_json_schema(client, ask):
    class Animal(pydantic.BaseModel):
        name: Literal["dog", "cat"]
        legs: int

    answer = client.chat.completions.parse(**ask("Describe a dog.", response_format=Animal, max_tokens=200))
    assert isinstance(answer.choices[0].message.parsed, Animal)


def test_logprobs(client, ask):
    answer = client.chat.completions.create(**ask(logprobs=True, top_logprobs=3, max_tokens=8))
    tokens = answer.choices[0].logprobs.content
    assert len(tokens) == answer.usage.completion_tokens or len(tokens) == answer.usage.completion_tokens - 1
    assert all(len(token.top_logprobs) == 3 and token.logprob <= 0 for token in tokens)


def test_several_choices_each_with_its_end(client, ask):
    answer = client.chat.completions.create(**ask(n=2, max_tokens=8))
    assert sorted(choice.index for choice in answer.choices) == [0, 1]
    assert all(choice.finish_reason for choice in answer.choices)


def test_fields_that_farebox_does_not_know_reach_the_engine(client, ask):
    # llama.cpp's own: a grammar that leaves one answer.
    answer = client.chat.completions.create(**ask(extra_body={"grammar": 'root ::= "untouched"'}))
    assert answer.choices[0].message.content == "untouched"


def test_text_beyond_ascii_survives_both_ways(client, ask):
    text = "naïve 東京 🚲"
    more = {"extra_body": {"grammar": f'root ::= "{text}"'}, "max_tokens": 60}
    assert client.chat.completions.create(**ask(**more)).choices[0].message.content == text
    chunks = client.chat.completions.create(**ask(stream=True, **more))
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == text


@BASES
def test_a_completion(connect, account, base):
    answer = connect(account.key, base).completions.create(model=CHAT, prompt=f"{CANARY} once upon", max_tokens=12)
    assert answer.object == "text_completion"
    assert answer.choices[0].text
    check_usage(answer.usage, CHAT)


@pytest.mark.parametrize("include_usage", [None, False, True])
def test_a_streamed_completion(client, include_usage):
    more = {} if include_usage is None else {"stream_options": {"include_usage": include_usage}}
    chunks = list(
        client.completions.create(model=CHAT, prompt=f"{CANARY} once upon", max_tokens=12, stream=True, **more)
    )
    assert "".join(chunk.choices[0].text for chunk in chunks if chunk.choices)
    assert [c.choices[0].finish_reason for c in chunks if c.choices and c.choices[0].finish_reason] == ["length"]
    with_usage = [chunk for chunk in chunks if chunk.usage]
    if include_usage:
        assert with_usage == chunks[-1:]
        check_usage(with_usage[0].usage, CHAT)
    else:
        assert with_usage == []
