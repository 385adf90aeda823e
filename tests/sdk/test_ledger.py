"""The ledger says what the SDK saw: the same tokens, and their price to the picodollar."""

from fractions import Fraction

from catalog import CANARY, CHAT, EMBEDDING, PRICES, SLASHED


def picodollars(model, prompt, cached, completion):
    price_in, price_cached, price_out = (Fraction(price or 0) for price in PRICES[model])
    # One USD per million tokens is a million picodollars a token.
    return int(((prompt - cached) * price_in + cached * price_cached + completion * price_out) * 10**6)


def test_the_ledger_agrees_with_what_the_sdk_saw(farebox, account, client, ask):
    seen = []

    def note(model, usage):
        details = getattr(usage, "prompt_tokens_details", None)
        cached = details.cached_tokens if details else 0
        seen.append((model, usage.prompt_tokens, cached, getattr(usage, "completion_tokens", 0)))

    for model in (CHAT, SLASHED):
        for turn in range(3):  # the second and third find the first one's prompt in the engine's cache
            note(model, client.chat.completions.create(**ask("A long prompt. " * 20, model=model, seed=turn)).usage)
        *_, last = client.chat.completions.create(
            **ask("Streamed.", model=model, stream=True, stream_options={"include_usage": True})
        )
        note(model, last.usage)
        note(model, client.completions.create(model=model, prompt=f"{CANARY} once", max_tokens=9).usage)
    for text in (CANARY, [CANARY, "two"], [[504, 253], [1187]]):
        note(EMBEDDING, client.embeddings.create(model=EMBEDDING, input=text).usage)
    assert any(cached for _, _, cached, _ in seen), "the engine reported no cached tokens: the test shows too little"

    billed = farebox.usage_of(account)
    assert billed["requests"] == len(seen)
    assert billed["prompt_tokens"] == sum(prompt for _, prompt, _, _ in seen)
    assert billed["cached_tokens"] == sum(cached for _, _, cached, _ in seen)
    assert billed["completion_tokens"] == sum(completion for _, _, _, completion in seen)
    assert billed["cost"] == sum(picodollars(*entry) for entry in seen)
    farebox.cli("ledger", "verify")


def test_a_stream_without_a_usage_chunk_is_metered_all_the_same(farebox, account, client, ask):
    same = ask("Meter me.", stream=True, temperature=0, max_tokens=7, extra_body={"ignore_eos": True})
    for options in (None, {"include_usage": False}):
        for _ in client.chat.completions.create(**same, **({} if options is None else {"stream_options": options})):
            pass
    billed = farebox.usage_of(account)
    assert billed["requests"] == 2
    assert billed["completion_tokens"] == 14
    assert billed["prompt_tokens"] > 0 and billed["cost"] > 0
