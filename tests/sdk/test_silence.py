"""What was asked and answered is in no file, log or metric of farebox. Runs last: every prompt had the canary."""

import json
import os
from pathlib import Path

import openai
import pytest

from catalog import CANARY, CHAT

ANSWER = "marimba-canary-94c2e0"


def everything_written(farebox):
    """Name and bytes of all that farebox wrote or holds open, and of what its listeners and commands tell."""
    files = {path for path in farebox.folder.rglob("*") if path.is_file() and path != farebox.config}
    for open_file in Path(f"/proc/{farebox.child.pid}/fd").iterdir():
        target = os.path.realpath(open_file)
        # The sockets' and pipes' names are no paths; its own database comes up here a second time.
        if os.path.isfile(target):
            files.add(Path(target))
    for path in files:
        yield str(path), path.read_bytes()
    yield "/metrics", farebox.metrics().encode()
    for command in (["usage"], ["account", "list"], ["ledger", "verify"]):
        yield " ".join(command), json.dumps(farebox.cli(*command)).encode()


@pytest.mark.last
def test_prompts_and_answers_are_found_nowhere(farebox, account, client, ask):
    only = {"type": "json_schema", "json_schema": {"name": "word", "schema": {"type": "string", "enum": [ANSWER]}}}
    for stream in (False, True):
        answer = client.chat.completions.create(**ask(response_format=only, max_tokens=60, stream=stream))
        if stream:
            text = "".join(chunk.choices[0].delta.content or "" for chunk in answer)
        else:
            text = answer.choices[0].message.content
        assert json.loads(text) == ANSWER
    # Refused and broken requests tend to be the ones that are logged whole.
    for bad in ({"messages": CANARY}, {"grammar": f"root ::= {ANSWER} ("}):
        with pytest.raises(openai.BadRequestError):
            client.chat.completions.create(**ask(extra_body=bad))

    written = list(everything_written(farebox))
    for name, content in written:
        for secret in (CANARY, ANSWER, account.key, farebox.admin_token):
            assert secret.encode() not in content, f"{secret} is in {name}"
    # The search itself is proven by what must be there: the account in the database, the model in the metrics.
    assert any(account.id.encode() in content for name, content in written if "/data/" in name)
    assert any(CHAT.encode() in content for name, content in written if name == "/metrics")


@pytest.mark.last
def test_a_model_name_that_a_client_made_up_becomes_no_label(farebox, client, ask):
    with pytest.raises(openai.NotFoundError):
        client.chat.completions.create(**ask(model="made-up-5b1f"))
    assert "made-up-5b1f" not in farebox.metrics()
