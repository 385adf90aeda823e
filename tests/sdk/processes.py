"""The real programs that the suite runs: llama-server and farebox, on ports that the system picks."""

import ctypes
import json
import os
import re
import shlex
import signal
import subprocess
import time
import urllib.error
import urllib.request
from pathlib import Path

REPO = Path(__file__).resolve().parents[2]
TARGET = Path(os.environ.get("CARGO_TARGET_DIR", REPO / "target"))
FAREBOX = Path(os.environ.get("FAREBOX_BIN", TARGET / "debug/farebox")).resolve()
READY_WITHIN_S = 60
LIBC = ctypes.CDLL(None)
PR_SET_PDEATHSIG = 1


def installed():
    """Where scripts/setup put things, by name: LLAMA_SERVER, MODEL, NODE, ..."""
    lines = subprocess.check_output([REPO / "scripts/setup", "paths"], text=True).splitlines()
    return {name: shlex.split(value)[0] for name, value in (line.split("=", 1) for line in lines)}


def until(condition, within_s, what, pause_s=0.01):
    """Asks until the condition gives something true, and returns that; fails at the deadline."""
    deadline = time.monotonic() + within_s
    while True:
        found = condition()
        if found:
            return found
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {within_s} s: {what}")
        time.sleep(pause_s)  # between two looks at a condition


def http(url, *, token=None, method="GET", body=None, headers=None):
    """One plain request: (status, headers, bytes), whatever the status is."""
    headers = dict(headers or {})
    if token:
        headers["authorization"] = f"Bearer {token}"
    request = urllib.request.Request(url, data=body, headers=headers, method=method)
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.status, answer.headers, answer.read()
    except urllib.error.HTTPError as refusal:
        return refusal.code, refusal.headers, refusal.read()


class Process:
    """A child with its log in a file, ended when the suite is."""

    def __init__(self, name, command, log, *, env=None, stdout=None):
        self.name, self.log = name, Path(log)
        self._log_file = open(self.log, "wb")
        self.child = subprocess.Popen(
            [str(part) for part in command],
            stdin=subprocess.DEVNULL,
            stdout=stdout or self._log_file,
            stderr=self._log_file,
            env=env,
            start_new_session=True,
            # Ended with the suite also where the suite is killed.
            preexec_fn=lambda: LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGKILL),
        )

    def log_text(self):
        return self.log.read_text(errors="replace")

    def check_alive(self):
        if self.child.poll() is not None:
            raise RuntimeError(f"{self.name} ended with {self.child.returncode}:\n{self.log_text()[-4000:]}")

    def stop(self):
        if self.child.poll() is None:
            self.child.terminate()
            try:
                self.child.wait(15)
            except subprocess.TimeoutExpired:
                os.killpg(self.child.pid, signal.SIGKILL)
                self.child.wait()
        self._log_file.close()
        return self.child.returncode


class LlamaServer(Process):
    """A real llama.cpp engine. It says in its log which free port it took."""

    def __init__(self, alias, log, *arguments):
        paths = installed()
        super().__init__(
            f"llama-server {alias}",
            [paths["LLAMA_SERVER"], "-m", paths["MODEL"], "--alias", alias, "--host", "127.0.0.1", "--port", "0",
             "--metrics", "--slots", "-t", "1", "--jinja", "--chat-template-file", REPO / "scripts/smollm2.jinja",
             *arguments],
            log,
        )
        self.url = until(self._listening, READY_WITHIN_S, f"{self.name} names its port")
        until(self._healthy, READY_WITHIN_S, f"{self.name} is healthy")

    def _listening(self):
        self.check_alive()
        found = re.search(r"listening on (http://127\.0\.0\.1:[1-9]\d*)", self.log_text())
        return found and found[1]

    def _healthy(self):
        self.check_alive()
        return http(f"{self.url}/health")[0] == 200

    def requests_processing(self):
        text = http(f"{self.url}/metrics")[2].decode()
        return float(re.search(r"^llamacpp:requests_processing (\S+)", text, re.M)[1])


class Farebox(Process):
    """The gateway. Its one line on stdout says where it listens; its logs go to stderr."""

    def __init__(self, folder, models_yaml):
        self.folder = Path(folder)
        self.data = self.folder / "data"
        self.config = self.folder / "models.yaml"
        self.config.write_text(models_yaml)
        self.admin_token = "adm_" + os.urandom(24).hex()
        env = {"PATH": os.environ["PATH"], "FAREBOX_ADMIN_TOKEN": self.admin_token}
        super().__init__(
            "farebox",
            [FAREBOX, "serve", "--config", self.config, "--data", self.data,
             "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"],
            self.folder / "farebox.log", env=env, stdout=subprocess.PIPE,
        )
        ready = self.child.stdout.readline()
        if not ready:
            self.child.wait(10)
            self.check_alive()
        where = json.loads(ready)
        self.url, self.admin_url = f"http://{where['listening']}", f"http://{where['admin']}"
        until(self._ready, READY_WITHIN_S, "farebox is ready")

    def _ready(self):
        self.check_alive()
        return http(f"{self.url}/ready")[0] == 200

    def cli(self, *arguments):
        """What `farebox ARGUMENTS --json` answers, from the running gateway."""
        env = {"PATH": os.environ["PATH"], "FAREBOX_ADMIN_URL": self.admin_url, "FAREBOX_ADMIN_TOKEN": self.admin_token}
        done = subprocess.run(
            [FAREBOX, *map(str, arguments), "--json"], env=env, capture_output=True, text=True, timeout=30
        )
        assert done.returncode == 0, f"farebox {' '.join(map(str, arguments))}: {done.returncode}: {done.stderr}"
        return json.loads(done.stdout)

    def metrics(self):
        status, _, body = http(f"{self.admin_url}/metrics", token=self.admin_token)
        assert status == 200, body
        return body.decode()

    def usage_of(self, account):
        """The sums over an account's entries; its cost in picodollars."""
        total = self.cli("usage", "--account", account.id)["total"]
        return total | {"cost": int(total["cost"]["picodollars"])}

    def new_account(self, name):
        return Account(self, self.cli("account", "create", name)["id"])


class Account:
    """An account with one key, made by the command line."""

    def __init__(self, farebox, account_id):
        self.farebox, self.id = farebox, account_id
        self.key = farebox.cli("key", "create", "--account", account_id, "--name", "suite")["secret"]

    def limit(self, concurrent_requests, model=None):
        only = ["--model", model] if model else []
        self.farebox.cli("limit", "set", "--account", self.id, *only, "--concurrent-requests", concurrent_requests)
