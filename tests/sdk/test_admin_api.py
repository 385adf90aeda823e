"""The admin API against its own OpenAPI document, by a property tester: what the document allows and what it forbids is
sent to each operation, alone and in sequences, and whatever comes back must be what the document says."""

import json
import subprocess
import sys

import pytest

from processes import Farebox, http

# One real engine, as farebox is ready with one that answers; the admin API asks it for nothing.
MODELS_YAML = """
models:
  - id: org/model
    task: chat
    context_length: 4096
    price: {{ input: "0.10", output: "0.32" }}
    engines: [{{ engine: llama, serves: smollm2 }}]
engines:
  - {{ name: llama, kind: llama.cpp, url: "{url}" }}
"""

AUTH = """
[auth.openapi.token]
bearer = "${FAREBOX_ADMIN_TOKEN}"
"""

# Names of things that there are, so that not every path ends with a 404.
PARAMETERS = """
[parameters]
"path.account" = "{account}"
"path.key" = "{key}"
"path.engine" = "llama"
"path.month" = "2026-10"
"""


def run_schemathesis(folder, farebox, *arguments):
    """Every check but `positive_data_acceptance`: a text that holds by the document and yet is no date, or no name of
    anything, is refused with a 400. The examples are the same in every run."""
    return subprocess.run(
        [sys.executable, "-m", "schemathesis.cli", "--config-file", "settings.toml", "run", "openapi.json",
         "--url", farebox.admin_url, "--checks", "all", "--exclude-checks", "positive_data_acceptance",
         # Its answer has no end.
         "--exclude-path", "/admin/v1/live",
         "--max-examples", "20", "--generation-deterministic", "--continue-on-failure", "--warnings", "off",
         "--no-color", *arguments],
        cwd=folder, env={"FAREBOX_ADMIN_TOKEN": farebox.admin_token}, capture_output=True, text=True,
    )


@pytest.mark.timeout(240)
def test_every_operation_answers_as_its_description_says(tmp_path, chat_engine):
    farebox = Farebox(tmp_path, MODELS_YAML.format(url=chat_engine.url))
    try:
        account = farebox.new_account("tested")
        key = farebox.cli("key", "create", "--account", account.id, "--name", "tested")
        status, _, document = http(f"{farebox.admin_url}/admin/v1/openapi.json", token=farebox.admin_token)
        assert status == 200 and len(json.loads(document)["paths"]) > 30
        (tmp_path / "openapi.json").write_bytes(document)
        known = PARAMETERS.format(account=account.id, key=key["id"])
        # Each operation alone, for things that there are; then sequences, which make what they ask for.
        for phases, settings in [("coverage,fuzzing", AUTH + known), ("stateful", AUTH)]:
            (tmp_path / "settings.toml").write_text(settings)
            tested = run_schemathesis(tmp_path, farebox, "--phases", phases)
            assert tested.returncode == 0, tested.stdout[-8000:] + tested.stderr[-2000:]
        farebox.check_alive()
        assert "panicked" not in farebox.log_text()
    finally:
        farebox.stop()
