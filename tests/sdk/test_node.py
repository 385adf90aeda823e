"""openai-node: its own suite (node/suite.test.mjs), run by node's test runner against the same farebox."""

import json
import os
import subprocess

from catalog import CANARY, CHAT, EMBEDDING, SLASHED, tool_request
from processes import REPO, installed


def test_the_node_suite(farebox, account, idle_engine):
    limited = farebox.new_account("node-limited")
    limited.limit(1)
    done = subprocess.run(
        [installed()["NODE"], "--test", "--test-reporter=spec", "suite.test.mjs"],
        cwd=REPO / "tests/sdk/node",
        env={
            "PATH": os.environ["PATH"],
            "FAREBOX_URL": farebox.url, "FAREBOX_KEY": account.key, "FAREBOX_LIMITED_KEY": limited.key,
            "ENGINE_URL": idle_engine.url,
            "CHAT": CHAT, "SLASHED": SLASHED, "EMBEDDING": EMBEDDING, "CANARY": CANARY,
            "TOOL_REQUEST": json.dumps(tool_request()),
        },
        capture_output=True, text=True, timeout=110,
    )
    print(done.stdout, done.stderr)
    assert done.returncode == 0
    assert "ℹ fail 0" in done.stdout and "ℹ pass 0" not in done.stdout
