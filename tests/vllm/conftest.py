"""Three real vLLM engines and one farebox in front of them, for the whole run."""

import itertools
import json
import re
import time
from pathlib import Path

import openai
import pytest

from engines import VllmServer
from processes import Farebox, http, installed, until

# What an engine that is silent has, between two tokens.
BETWEEN_TOKENS_S = 12
MODELS_YAML = """
models:
  - id: tiny
    task: chat
    context_length: 4096
    price: {{ input: "0.10", cached_input: "0.02", output: "0.32" }}
    engines: [{deployments}]
    routing: prefix
    tokenizer: {base}/tokenizer.json
    chat_template: {base}/chat_template.jinja
    adapters:
      - {{ id: tiny-red, name: red, price_multiplier: "1.5" }}
      - {{ id: tiny-blue, name: blue, path: {models}/blue }}
engines:
{engines}
timeouts: {{ between_tokens: {between_tokens}s, first_event: 60s }}
"""


@pytest.fixture(scope="session")
def engines(tmp_path_factory):
    """Two that farebox connects to for their events, and one that connects to farebox. The first has an adapter from its start."""
    logs = tmp_path_factory.mktemp("engines")
    red = ["--lora-modules", f"red={Path(installed()['VLLM_MODELS']) / 'red'}"]
    engines = [
        VllmServer(f"vllm-{n}", logs / f"{n}.log", "--enable-lora", *(red if n == "a" else []), binds=n != "c") for n in "abc"
    ]
    try:
        for engine in engines:
            engine.wait_until_ready()
        yield engines
    finally:
        for engine in engines:
            engine.stop()


@pytest.fixture(scope="session")
def farebox(tmp_path_factory, engines):
    engine = '  - {{ name: {0.name}, kind: vllm, url: "{0.url}", cache_tokens: 20480, kv_events: {1} }}'
    gateway = Farebox(
        tmp_path_factory.mktemp("farebox"),
        MODELS_YAML.format(
            deployments=", ".join(f"{{ engine: {engine.name}, serves: tiny }}" for engine in engines),
            engines="\n".join(engine.format(one, one.kv_events()) for one in engines),
            base=Path(installed()["VLLM_MODELS"]) / "base",
            models=installed()["VLLM_MODELS"],
            between_tokens=BETWEEN_TOKENS_S,
        ),
    )
    yield gateway
    gateway.stop()


@pytest.fixture
def account(farebox, request):
    return farebox.new_account(request.node.name[:40])


@pytest.fixture
def client(farebox, account):
    with openai.OpenAI(base_url=farebox.url + "/v1", api_key=account.key, max_retries=0, timeout=120) as client:
        yield client


@pytest.fixture
def metric(farebox):
    """A metric of farebox's, summed over the series whose labels have all of these."""

    def metric(name, **labels):
        total = 0
        for line in farebox.metrics().splitlines():
            found = re.fullmatch(rf"{name}(?:\{{(.*)\}})? (\S+)", line)
            if found and all(f'{label}="{value}"' in (found[1] or "") for label, value in labels.items()):
                total += float(found[2])
        return total

    return metric


@pytest.fixture
def heard(engines, metric):
    """All three engines' events are heard: each is asked for something, past farebox, and says what it keeps of it."""
    for engine in engines:
        prompts = iter(f"{number} " * 100 for number in itertools.count())

        def is_heard():
            if metric("farebox_kv_events_heard", engine=engine.name) == 1:
                return True
            body = json.dumps({"model": "tiny", "prompt": next(prompts) + str(time.time()), "max_tokens": 1})
            http(f"{engine.url}/v1/completions", method="POST", body=body.encode(),
                 headers={"content-type": "application/json"})
            return False

        until(is_heard, 60, f"{engine.name} is heard", pause_s=0.1)
