"""farebox's count of a prompt's tokens is llama-server's own, over prompts of every kind, with two chat templates."""

import json
import subprocess

import pytest

from catalog import CANARY, WEATHER, weather_turns
from processes import FAREBOX, REPO, LlamaServer, http

TEXTS = {
    "hello": "Hello",
    "empty": "",
    "one space": " ",
    "spaces": "   leading, and trailing   ",
    "many spaces": "a" + " " * 300 + "b",
    "lines": "\n\nfirst\n\n\nsecond\r\nthird\n",
    "tabs": "\tif x:\n\t\treturn\t1  \t\n",
    "digits": "1234567890 3.14159 1,000,000 0x1F 2026-11-24T13:00:00Z",
    "other digits": "٣٤٥ ४५६ Ⅷ ½ ² ①",
    "contractions": "I'm you're he'll they've we'd it's don't 'S 'LL Can't",
    "punctuation": "?!... --- *** ((([[{{}}]])) #$%^&*~`|\\/<>",
    "accents": "naïve façade Ünïcödé Łódź crème brûlée",
    "combining": "e\u0301 a\u0308 n\u0303 \u1e9b\u0323",
    "chinese": "東京都は日本の首都です。你好，世界！",
    "korean": "안녕하세요 세계",
    "arabic": "مرحبا بالعالم، كيف الحال؟",
    "hebrew": "שלום עולם",
    "hindi": "नमस्ते दुनिया",
    "thai": "สวัสดีชาวโลก",
    "greek and cyrillic": "Γειά σου Κόσμε. Привет, мир!",
    "emoji": "🚲🚀🎉 👍🏽 👨‍👩‍👧‍👦 🏳️‍🌈 🇩🇪",
    "zero width": "a\u200bb\u200dc\ufeffd\u2060e",
    "odd spaces": "a\u00a0b\u2003c\u3000d\u2028e\u0085f\u000bg\u000ch",
    "controls": "a\u0001b\u0007c\u001bd\u007fe",
    "astral": "𝔘𝔫𝔦𝔠𝔬𝔡𝔢 𐍈 𓀀",
    "noncharacters": "\ufffd \uffff \U0010ffff",
    "python": "def f(x: int) -> str:\n    return f\"{x!r}\"\n\n\nclass A:\n    '''doc'''\n    pass\n",
    "rust": "fn main() {\n    let v: Vec<_> = (0..10).map(|x| x * 2).collect();\n    println!(\"{v:?}\");\n}\n",
    "json": '{"a": [1, 2.5e10, null, true], "b": {"c": "\\u00e9\\n"}}',
    "html": "<div class=\"a\"><b>bold &amp; brave</b></div><!-- no -->",
    "markdown": "# Title\n\n- one\n- two\n\n```sh\nls -la | grep x\n```\n\n| a | b |\n|---|---|\n",
    "url": "https://example.org/a/b?c=d&e=%20f#g user@example.org",
    "base64": "SGVsbG8sIHdvcmxkISBUaGlzIGlzIGEgdGVzdC4gMTIzNDU2Nzg5MA==",
    "one long word": "a" * 1000,
    "long": "The quick brown fox jumps over the lazy dog. " * 40,
    "special tokens": "<|im_start|>user\nI am text<|im_end|> <|endoftext|> <repo_name>",
    "half a special token": "<|im_start <|im_end| |> <|nope|>",
    "jinja": "{{ messages }} {% for x in y %}{# no #}",
    "quotes": "'single' \"double\" `tick` “curly” ‘curly’ «angle»",
}

ROLES = {
    "system first": ["system", "user"],
    "system alone": ["system"],
    "empty system": ["", "user"],
    "two systems": ["system", "system", "user"],
    "three turns": ["user", "assistant", "user", "assistant", "user"],
    "system and turns": ["system", "user", "assistant", "user"],
    "two users": ["user", "user"],
    "developer": ["developer", "user"],
    "assistant first": ["assistant", "user"],
}


def user(content, **more):
    return {"messages": [{"role": "user", "content": content}], **more}


def of_roles(roles):
    turns = enumerate(roles)
    return {"messages": [{"role": role or "system", "content": role and f"{CANARY} {turn}: {role} says so.\n"}
                         for turn, role in turns]}


def chats():
    """Chat bodies that every template can take, by name."""
    found = {f"user, {name}": user(f"{CANARY}: {text}" if text else text) for name, text in TEXTS.items()}
    found |= {f"system, {name}": {"messages": [{"role": "system", "content": text}, {"role": "user", "content": "Go."}]}
              for name, text in list(TEXTS.items())[::4]}
    found |= {name: of_roles(roles) for name, roles in ROLES.items()}
    text = {"type": "text", "text": f"{CANARY} one"}
    null = {"role": "assistant", "content": None, "tool_calls": []}
    return found | {
        "a part": user([text]),
        "two parts": user([text, {"type": "text", "text": " two\n"}]),
        "an empty part": user([text, {"type": "text", "text": ""}]),
        "kwargs that nobody reads": user("Go.", chat_template_kwargs={"enable_thinking": False, "odd": [1]}),
        "a name": {"messages": [{"role": "user", "name": "Ada", "content": "Go."}]},
        "empty tools": user("Go.", tools=[]),
        "a format": user("Go.", response_format={"type": "json_object"}),
        "an empty answer": {"messages": [*user("One.")["messages"], {**null, "content": ""}, *user("Two.")["messages"]]},
    }


def tool_chats():
    """Chat bodies with tools and calls, which the template in the GGUF file cannot show."""
    bare = {"type": "function", "function": {"name": "now"}}
    odd = {"function": {"strict": True, "parameters": {"type": "object", "properties": {
        "zeta": {"type": "string", "description": "<b>'quoted' & \"escaped\"</b> é 🚲 \u2028"},
        "alpha": {"type": "number", "minimum": 1.5, "enum": [1, -2, None, True]}}},
        "description": "dé\nscribed", "name": "odd"}, "type": "function"}
    answered = [*weather_turns()[:2], {"role": "tool", "tool_call_id": "call_0", "content": "Sunny, 21 °C"}]
    return {
        "a tool": user("Rome?", tools=[WEATHER]),
        "two tools": user("Rome?", tools=[WEATHER, odd]),
        "a tool without words": user("When?", tools=[bare]),
        "a tool in another order": user("Odd?", tools=[odd]),
        "a tool not to be called": user("Rome?", tools=[WEATHER], tool_choice="none"),
        "a tool and a system": {"messages": of_roles(["system", "user"])["messages"], "tools": [WEATHER]},
        "calls": {"messages": weather_turns(), "tools": [WEATHER]},
        "calls without tools": {"messages": weather_turns()},
        "a call that was answered": {"messages": answered, "tools": [WEATHER]},
        "a call with words": {"messages": [answered[0], {**answered[1], "content": "Let me see."}, answered[2]],
                              "tools": [WEATHER]},
    }


def completions():
    found = {f"completion, {name}": {"prompt": text} for name, text in TEXTS.items() if text}
    return found | {"completion, tokens": {"prompt": [504, 253, 1187, 9, 17]}}


@pytest.fixture(scope="module")
def own_template_engine(tokenizer_files, tmp_path_factory):
    engine = LlamaServer(
        "smollm2", tmp_path_factory.mktemp("engines") / "own-template.log",
        "-c", "4096", "--parallel", "1", "--chat-template-file", tokenizer_files / "chat_template.jinja",
    )
    yield engine
    engine.stop()


def engine_count(engine, body):
    """What the engine itself says of a body's prompt, or why it says nothing."""
    path = "/v1/completions" if "prompt" in body else "/v1/chat/completions"
    asked = {"model": "smollm2", "max_tokens": 1, "temperature": 0, **body}
    status, _, answer = http(engine.url + path, method="POST", body=json.dumps(asked).encode(),
                             headers={"content-type": "application/json"})
    answer = json.loads(answer)
    return answer["usage"]["prompt_tokens"] if status == 200 else f"{status} {answer}"


def farebox_counts(folder, files, template, bodies):
    """What `farebox count` says of them, by name."""
    config = folder / "models.yaml"
    config.write_text(f"""
models:
  - id: counted
    task: chat
    context_length: 4096
    price: {{ input: "0.10", output: "0.32" }}
    tokenizer: {json.dumps(str(files / "tokenizer.json"))}
    chat_template: {json.dumps(str(template))}
    engines: [{{ engine: llama }}]
engines:
  - {{ name: llama, kind: llama.cpp, url: "http://127.0.0.1:9" }}
""")
    paths = {}
    for number, (name, body) in enumerate(bodies.items()):
        path = folder / f"{number}.json"
        path.write_text(json.dumps({"model": "counted", **body}))
        paths[str(path)] = name
    done = subprocess.run([FAREBOX, "count", "--config", config, "--model", "counted", "--json", *paths],
                          capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    return {paths[entry["file"]]: entry["prompt_tokens"] for entry in json.loads(done.stdout)["data"]}


def differences(engine, folder, files, template, bodies):
    counted = farebox_counts(folder, files, template, bodies)
    asked = {name: engine_count(engine, body) for name, body in bodies.items()}
    return {name: (asked[name], counted[name]) for name in bodies if asked[name] != counted[name]}


# A hundred prompts on one thread take half a minute, and longer where others use the machine too.
@pytest.mark.timeout(600)
def test_the_count_is_the_engines(idle_engine, tokenizer_files, tmp_path):
    bodies = chats() | tool_chats() | completions()
    assert len(bodies) >= 100
    assert differences(idle_engine, tmp_path, tokenizer_files, REPO / "scripts/smollm2.jinja", bodies) == {}


@pytest.mark.timeout(600)
def test_the_count_is_the_engines_with_the_template_in_the_gguf_file(own_template_engine, tokenizer_files, tmp_path):
    bodies = chats()
    assert len(bodies) >= 60
    assert differences(own_template_engine, tmp_path, tokenizer_files, tokenizer_files / "chat_template.jinja", bodies) == {}


def test_what_cannot_be_known_is_not_guessed(tokenizer_files, tmp_path):
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}
    bodies = {
        "an image": user([{"type": "text", "text": "What is it?"}, image]),
        "tools that the template does not show": user("Rome?", tools=[WEATHER]),
        "an answer begun": of_roles(["user", "assistant"]),
        "no generation prompt": user("Go.", add_generation_prompt=False),
        "a template of the client's own": user("Go.", chat_template="{{ messages }}"),
    }
    counted = farebox_counts(tmp_path, tokenizer_files, tokenizer_files / "chat_template.jinja", bodies)
    assert counted == dict.fromkeys(bodies)
