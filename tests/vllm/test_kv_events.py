"""What vLLM's events make the index predict, against what vLLM itself then says that it had cached."""

import json
import random
from concurrent.futures import ThreadPoolExecutor

from processes import until

REQUESTS = 2000
CLIENTS = 6
EXACT_AT_LEAST = 0.98
WORDS = "class import return value file path index error name type list first model state read write open close".split()


def text(draw, words):
    return " ".join(draw.choice(WORDS) + str(draw.randrange(100)) for _ in range(words))


class Conversations:
    """One client's: each of its requests goes on from an earlier one, or begins under one of the common system prompts."""

    def __init__(self, seed, systems):
        self.draw, self.systems, self.open = random.Random(seed), systems, []

    def next(self):
        if self.open and self.draw.random() < 0.6:
            messages = self.draw.choice(self.open)
        else:
            messages = [{"role": "system", "content": self.draw.choice(self.systems)}]
            self.open = [*self.open[-5:], messages]
        messages.append({"role": "user", "content": text(self.draw, self.draw.randrange(5, 60))})
        if len(messages) > 8:
            self.open = [one for one in self.open if one is not messages]
        return messages


def run(client, seed, systems, requests):
    """Cached tokens of the answers, as vLLM says them."""
    mine, cached = Conversations(seed, systems), 0
    for number in range(requests):
        messages = mine.next()
        salted = {"cache_salt": f"salt of {seed}"} if number % 10 == 0 else {}
        if number % 7 == 0:
            prompt = messages[0]["content"] + messages[-1]["content"]
            answer = client.completions.create(model="tiny", prompt=prompt, max_tokens=2, extra_body=salted)
        else:
            answer = client.chat.completions.create(
                model="tiny", messages=messages, max_tokens=mine.draw.randrange(1, 12), extra_body=salted
            )
            messages.append({"role": "assistant", "content": answer.choices[0].message.content or ""})
        cached += answer.usage.prompt_tokens_details.cached_tokens if answer.usage.prompt_tokens_details else 0
    return cached


def test_the_index_predicts_what_the_engines_find_cached(engines, client, metric, heard):
    hits = [engine.metric("vllm:prefix_cache_hits_total") for engine in engines]
    outcomes = ["exact", "fewer", "more"]
    before = {cached: metric("farebox_prefix_predictions_total", cached=cached) for cached in outcomes}
    told = metric("farebox_prefix_cached_tokens_total", said="reported")
    systems = [text(random.Random(seed), 150 + 10 * seed) for seed in range(24)]
    each = [REQUESTS // CLIENTS + (seed < REQUESTS % CLIENTS) for seed in range(CLIENTS)]
    with ThreadPoolExecutor(CLIENTS) as clients:
        answered = list(clients.map(lambda seed: run(client, seed, systems, each[seed]), range(CLIENTS)))

    came = {
        (cached, source): metric("farebox_prefix_predictions_total", cached=cached, source=source)
        for cached in outcomes for source in ("events", "sent")
    }
    by_events = {cached: came[cached, "events"] for cached in outcomes}
    exact = by_events["exact"] / sum(by_events.values())
    found = [engine.metric("vllm:prefix_cache_hits_total") - hit for engine, hit in zip(engines, hits)]
    told = metric("farebox_prefix_cached_tokens_total", said="reported") - told
    print(f"{REQUESTS} requests, {exact:.2%} predicted exactly by events: {by_events}; all: {came}; before: {before}")
    print(f"cached tokens: vLLM counted {found} = {sum(found):.0f}, told clients {sum(answered)}, told farebox {told:.0f}")
    for what in ("events", "stored", "removed", "gaps", "replays", "resets", "undecodable", "orphans", "misfits"):
        print(what, [metric("farebox_kv_events_total", engine=engine.name, what=what) for engine in engines])
    assert sum(by_events.values()) >= REQUESTS
    assert exact >= EXACT_AT_LEAST
    assert sum(found) == sum(answered) == told > 0
    for engine in engines:
        assert metric("farebox_kv_events_total", engine=engine.name, what="removed") > 0, "the cache was never full"
        for amiss in ("undecodable", "misfits", "orphans", "resets"):
            assert metric("farebox_kv_events_total", engine=engine.name, what=amiss) == 0


def test_a_prompt_is_explained_by_the_engines_own_events(farebox, client, engines, heard, tmp_path):
    body = {"model": "tiny", "max_tokens": 4, "messages": [{"role": "user", "content": text(random.Random(99), 200)}]}
    usage = client.chat.completions.create(**body).usage
    file = tmp_path / "request.json"
    file.write_text(json.dumps(body))

    def explained():
        route = farebox.cli("route", "explain", file)
        held = {one["engine"]: one["estimate"] for one in route["engines"]}
        assert {one["source"] for one in held.values()} == {"events"}
        assert route["prompt_tokens"] == usage.prompt_tokens
        return held[route["chosen"]]["predicted_cached_tokens"]

    predicted = until(explained, 10, "the prompt is told")
    assert predicted == (usage.prompt_tokens - 1) // 32 * 32
    again = client.chat.completions.create(**body).usage
    assert again.prompt_tokens_details.cached_tokens == predicted
