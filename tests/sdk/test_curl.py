"""What a person types: curl, with nothing between it and the wire."""

import gzip
import json
import subprocess

import pytest

from catalog import CANARY, CHAT, SLASHED


@pytest.fixture
def curl(farebox, account):
    def curl(path, *arguments, key=account.key, data=None):
        command = ["curl", "-sS", "-i", "--max-time", "60", farebox.url + path, *arguments]
        if key:
            command += ["-H", f"authorization: Bearer {key}"]
        if data is not None:
            command += ["-H", "content-type: application/json", "--data-binary", "@-"]
        if data is not None and not isinstance(data, bytes):
            data = json.dumps(data).encode()
        raw = subprocess.run(command, input=data, capture_output=True, check=True, timeout=70).stdout
        head, _, body = raw.partition(b"\r\n\r\n")
        if head.startswith(b"HTTP/1.1 100"):
            head, _, body = body.partition(b"\r\n\r\n")
        status, *lines = head.decode().split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        return int(status.split()[1]), headers, body

    return curl


def error_of(body):
    error = json.loads(body)["error"]
    assert set(error) == {"message", "type", "param", "code"}
    return error


@pytest.mark.parametrize("base", ["/v1", "/v1/openai"])
def test_a_chat(curl, ask, base):
    status, headers, body = curl(f"{base}/chat/completions", data=ask())
    assert status == 200 and headers["content-type"].startswith("application/json") and headers["x-request-id"]
    assert json.loads(body)["usage"]["estimated_cost"] > 0


def test_a_stream_ends_with_done_and_shows_no_usage(curl, ask):
    status, headers, body = curl("/v1/chat/completions", "-N", data=ask(stream=True))
    events = [line[6:] for line in body.decode().splitlines() if line.startswith("data: ")]
    assert status == 200 and headers["content-type"].startswith("text/event-stream")
    assert events[-1] == "[DONE]"
    assert not any(json.loads(event).get("usage") for event in events[:-1])


def test_the_usage_that_was_asked_for_looks_as_openai_s_does(curl, ask):
    _, _, body = curl("/v1/chat/completions", data=ask(stream=True, stream_options={"include_usage": True}))
    *chunks, done = [line[6:] for line in body.decode().splitlines() if line.startswith("data: ")]
    assert done == "[DONE]"
    last = json.loads(chunks[-1])
    assert last["choices"] == [] and last["usage"]["completion_tokens"] > 0


@pytest.mark.parametrize("path", [SLASHED, SLASHED.replace("/", "%2F")])
@pytest.mark.parametrize("base", ["/v1", "/v1/openai"])
def test_a_model_with_a_slash_written_either_way(curl, base, path):
    status, _, body = curl(f"{base}/models/{path}")
    assert (status, json.loads(body)["id"]) == (200, SLASHED)


def test_a_gzip_body(curl, ask):
    status, _, body = curl(
        "/v1/chat/completions", "-H", "content-encoding: gzip", data=gzip.compress(json.dumps(ask()).encode())
    )
    assert status == 200, body


def test_each_answer_has_a_request_id_also_where_the_client_sent_one(curl, ask):
    _, headers, _ = curl("/v1/chat/completions", "-H", "x-request-id: my-id-17", data=ask(max_tokens=1))
    assert headers["x-request-id"]


def test_no_key(curl, ask):
    status, _, body = curl("/v1/chat/completions", key=None, data=ask())
    assert (status, error_of(body)["code"]) == (401, "invalid_api_key")


@pytest.mark.parametrize("body", [b"", b"not json", b"[1]", b'{"model":', b'{"model": "\xff"}', b"[" * 5000])
def test_a_body_that_is_no_request(curl, body):
    status, _, answer = curl("/v1/chat/completions", data=body)
    assert status == 400
    assert error_of(answer)["type"] == "invalid_request_error"


def test_the_wrong_method_and_a_path_that_is_not_there(curl):
    for path, wanted in (("/v1/chat/completions", (404, 405)), ("/v1/nowhere", (404,))):
        status, _, body = curl(path)
        assert status in wanted
        error_of(body)


def test_health_needs_no_key_and_the_rate_limit_does(curl):
    assert curl("/health", key=None)[0] == 200
    assert curl("/ready", key=None)[0] == 200
    assert curl("/v1/me/rate_limit", key=None)[0] == 401
    status, _, body = curl("/v1/me/rate_limit")
    assert (status, json.loads(body)["rate_limit"]) == (200, 200)


def test_the_admin_listener_wants_its_token(farebox, account, curl):
    from processes import http

    for token in (None, "wrong", account.key):
        assert http(f"{farebox.admin_url}/metrics", token=token)[0] == 401
    assert "farebox_" in farebox.metrics()
    assert curl("/metrics", key=None)[0] == 404  # not on the public listener
