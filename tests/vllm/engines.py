"""vLLM on this processor, with its cache small enough to forget and told to whoever listens."""

import json
import os
import re
import socket
import tempfile
from pathlib import Path

from processes import Process, http, installed, until

BLOCK = 32  # tokens: the build for processors wants a multiple of 32
BLOCKS = 640  # of an engine's cache: some 20,000 tokens, so that old ones are evicted
READY_WITHIN_S = 400


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class VllmServer(Process):
    """One engine. `binds`: it binds the endpoint of its events and farebox connects; else it connects to farebox."""

    def __init__(self, name, log, *arguments, binds=True):
        paths = installed()
        self.port, self.binds = free_port(), binds
        self.events_port, self.replay_port = free_port(), free_port()
        host = "*" if binds else "127.0.0.1"
        events = {
            "enable_kv_cache_events": True,
            "publisher": "zmq",
            "endpoint": f"tcp://{host}:{self.events_port}",
            "replay_endpoint": f"tcp://*:{self.replay_port}",
        }
        env = os.environ | {
            "HF_HUB_OFFLINE": "1",
            "VLLM_NO_USAGE_STATS": "1",
            "VLLM_ALLOW_RUNTIME_LORA_UPDATING": "1",
            "VLLM_CPU_KVCACHE_SPACE": "1",
            "VLLM_CPU_OMP_THREADS_BIND": "nobind",
            "OMP_NUM_THREADS": "1",
            "TMPDIR": tempfile.mkdtemp(prefix="vllm-", dir="/tmp"),
        }
        super().__init__(
            name,
            [paths["VLLM"], "serve", Path(paths["VLLM_MODELS"]) / "base", "--served-model-name", "tiny",
             "--host", "127.0.0.1", "--port", self.port, "--dtype", "bfloat16", "--max-model-len", "4096",
             "--max-num-seqs", "16", "--block-size", BLOCK, "--num-gpu-blocks-override", BLOCKS,
             "--enable-prefix-caching", "--enable-prompt-tokens-details", "--enforce-eager",
             "--kv-events-config", json.dumps(events), *arguments],
            log, env=env,
        )
        self.url = f"http://127.0.0.1:{self.port}"

    def wait_until_ready(self):
        until(self._healthy, READY_WITHIN_S, f"{self.name} is ready", pause_s=0.2)

    def _healthy(self):
        self.check_alive()
        try:
            return http(f"{self.url}/health")[0] == 200
        except OSError:
            return False

    def kv_events(self):
        """As models.yaml has it."""
        where = "connect" if self.binds else "bind"
        replay = f"tcp://127.0.0.1:{self.replay_port}"
        return f'{{ {where}: "tcp://127.0.0.1:{self.events_port}", replay: "{replay}" }}'

    def metric(self, name):
        text = http(f"{self.url}/metrics")[2].decode()
        return sum(float(value) for value in re.findall(rf"^{re.escape(name)}(?:\{{.*\}})? (\S+)$", text, re.M))
