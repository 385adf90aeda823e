"""LoRA adapters of real vLLM: one that an engine has from its start, and one that is loaded when somebody asks for it."""

import json
from concurrent.futures import ThreadPoolExecutor

from processes import http, until

PROMPT = "class Reader: def read(self): return " * 40


def ask(client, model, **more):
    return client.completions.create(model=model, prompt=PROMPT, max_tokens=8, temperature=0, **more)


def listed(engine):
    return {model["id"] for model in json.loads(http(f"{engine.url}/v1/models")[2])["data"]}


def direct(engine, model):
    body = json.dumps({"model": model, "prompt": PROMPT, "max_tokens": 8, "temperature": 0})
    answer = http(f"{engine.url}/v1/completions", method="POST", body=body.encode(),
                  headers={"content-type": "application/json"})
    return json.loads(answer[2])["choices"][0]["text"]


def test_one_that_is_loaded_from_the_start_is_found(engines, client, metric):
    has_red = [engine for engine in engines if "red" in listed(engine)]
    assert [engine.name for engine in has_red] == ["vllm-a"]
    answers = [ask(client, "tiny-red") for _ in range(5)]
    assert {answer.model for answer in answers} == {"tiny-red"}
    assert {answer.choices[0].text for answer in answers} == {direct(has_red[0], "red")}
    assert direct(has_red[0], "red") != direct(has_red[0], "tiny"), "the adapter changes what is said"
    assert metric("farebox_adapter_loads_total") == 0


def test_one_that_nobody_has_is_loaded_on_demand_and_keeps_no_other_waiting(engines, client, metric, heard):
    assert not any("blue" in listed(engine) for engine in engines)
    with ThreadPoolExecutor(12) as clients:
        blue = [clients.submit(ask, client, "tiny-blue") for _ in range(6)]
        plain = [clients.submit(ask, client, "tiny") for _ in range(6)]
        answers, others = [[one.result() for one in each] for each in (blue, plain)]
    having = [engine for engine in engines if "blue" in listed(engine)]
    assert len(having) == 1
    assert metric("farebox_adapter_loads_total", outcome="loaded") == 1
    assert {answer.choices[0].text for answer in answers} == {direct(having[0], "blue")}
    assert not {answer.choices[0].text for answer in answers} & {answer.choices[0].text for answer in others}

    # What its prompts leave in the cache is its own, and foretold as exactly.
    def exact():
        return metric("farebox_prefix_predictions_total", source="events", cached="exact", engine=having[0].name)

    before = exact()
    again = ask(client, "tiny-blue")
    assert again.usage.prompt_tokens_details.cached_tokens > 0
    until(lambda: exact() == before + 1, 10, "the prediction is counted")


def test_one_that_an_engine_has_unloaded_is_loaded_again(engines, client, metric):
    (having,) = [engine for engine in engines if "blue" in listed(engine)]
    loads = metric("farebox_adapter_loads_total", outcome="loaded")
    http(f"{having.url}/v1/unload_lora_adapter", method="POST", body=b'{"lora_name": "blue"}',
         headers={"content-type": "application/json"})
    assert ask(client, "tiny-blue").model == "tiny-blue"
    assert metric("farebox_adapter_loads_total", outcome="loaded") == loads + 1
    assert metric("farebox_engine_ejections_total") == 0


def test_an_adapter_is_billed_at_its_own_price(account, client, farebox):
    for model in ("tiny", "tiny-red"):
        ask(client, model)
    usage = {row["model"]: row for row in farebox.cli("usage", "--account", account.id, "--by", "model")["data"]}
    print(usage)
    assert set(usage) == {"tiny", "tiny-red"}
    tiny, red = usage["tiny"], usage["tiny-red"]
    assert int(red["cost"]["picodollars"]) > 0
    at_base = lambda row: ((row["prompt_tokens"] - row["cached_tokens"]) * 100_000 + row["cached_tokens"] * 20_000
                           + row["completion_tokens"] * 320_000)
    assert int(tiny["cost"]["picodollars"]) == at_base(tiny)
    assert int(red["cost"]["picodollars"]) * 2 == at_base(red) * 3
