"""What the farebox of the suite sells, and the canary that every prompt of the suite carries."""

CHAT = "smollm2-135m-instruct"
ALIAS = "smollm2"
SLASHED = "HuggingFaceTB/SmolLM2-135M-Instruct"
EMBEDDING = "smollm2-embed"
# USD per million tokens: input, cached input, output.
PRICES = {CHAT: ("0.10", "0.02", "0.32"), SLASHED: ("1.30", "0.10", "2.60"), EMBEDDING: ("0.005", None, None)}

MODELS_YAML = """
models:
  - id: {chat}
    aliases: [{alias}]
    task: chat
    context_length: 4096
    max_output_tokens: 4096
    price: {{ input: "0.10", cached_input: "0.02", output: "0.32" }}
    engines: [{{ engine: llama-chat, serves: smollm2 }}]
    tokenizer: {tokenizer}
    chat_template: {template}
  - id: {slashed}
    task: chat
    context_length: 4096
    max_output_tokens: 4096
    price: {{ input: "1.30", cached_input: "0.10", output: "2.60" }}
    engines: [{{ engine: llama-chat, serves: smollm2 }}]
  - id: {embedding}
    task: embedding
    context_length: 2048
    price: {{ input: "0.005" }}
    engines: [{{ engine: llama-embed, serves: smollm2-embed }}]
  - id: nobody-home
    task: chat
    context_length: 4096
    price: {{ input: "0.10", cached_input: "0.02", output: "0.32" }}
    engines: [{{ engine: gone, serves: nobody }}]
engines:
  - {{ name: llama-chat, kind: llama.cpp, url: "{chat_url}", max_concurrent: 64 }}
  - {{ name: llama-embed, kind: llama.cpp, url: "{embedding_url}", max_concurrent: 64 }}
  - {{ name: gone, kind: llama.cpp, url: "http://127.0.0.1:9", max_concurrent: 4 }}
limits:
  concurrent_requests: 200
"""

# In every prompt of the suite; test_silence.py looks for it afterwards in all that farebox wrote.
CANARY = "xylophone-canary-7f3a91"

WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "The weather in a city",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string", "enum": ["Paris", "Rome"]}},
            "required": ["city"],
        },
    },
}


def weather_turns():
    """A conversation with tool calls in it: what gets another one out of so small a model."""
    messages = []
    for number, city in enumerate(["Rome", "Paris", "Rome"]):
        call = {"name": "get_weather", "arguments": f'{{"city": "{city}"}}'}
        messages += [
            {"role": "user", "content": f"{CANARY}: What is the weather in {city}?"},
            {
                "role": "assistant",
                "content": None,
                "tool_calls": [{"id": f"call_{number}", "type": "function", "function": call}],
            },
        ]
    return messages + [{"role": "user", "content": f"{CANARY}: What is the weather in Paris?"}]


def tool_request():
    return {
        "messages": weather_turns(), "tools": [WEATHER], "tool_choice": "required", "max_tokens": 100, "temperature": 0
    }
