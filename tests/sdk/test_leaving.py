"""A client that leaves: its llama.cpp slot is free within a second, and it pays for what was produced."""

import socket
import urllib.parse

import pytest

from processes import until

LONG = {"max_tokens": 3000, "extra_body": {"ignore_eos": True}, "stream": True}


@pytest.mark.parametrize("chunks", [1, 20])
def test_a_stream_that_is_left_frees_the_slot_within_a_second(farebox, account, client, ask, idle_engine, chunks):
    stream = client.chat.completions.create(**ask("Count to a thousand.", **LONG))
    events = iter(stream)
    for _ in range(chunks):
        next(events)
    assert idle_engine.requests_processing() == 1
    stream.close()
    until(lambda: idle_engine.requests_processing() == 0, 1, "the slot is free after the client left")
    billed = until(lambda: farebox.usage_of(account)["completion_tokens"], 2, "the entry of a stream that was left")
    # Each of llama.cpp's chunks but the first is one token; it stops some tokens later than the client sees.
    assert chunks - 1 <= billed < chunks + 100


def test_a_connection_that_breaks_off_is_noticed_too(farebox, account, ask, idle_engine):
    """No SDK, no TLS, no goodbye: a reset in the middle of a chunk."""
    import json
    import struct

    request = ask("Count to a thousand.", **{k: v for k, v in LONG.items() if k != "extra_body"})
    body = json.dumps(request | {"ignore_eos": True}).encode()
    host = urllib.parse.urlsplit(farebox.url)
    with socket.create_connection((host.hostname, host.port)) as connection:
        connection.sendall(
            b"POST /v1/chat/completions HTTP/1.1\r\nhost: farebox\r\ncontent-type: application/json\r\n"
            b"authorization: Bearer %s\r\ncontent-length: %d\r\n\r\n%s" % (account.key.encode(), len(body), body)
        )
        assert b" 200 " in connection.recv(1024)
        until(lambda: idle_engine.requests_processing() == 1, 5, "the engine has begun")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    until(lambda: idle_engine.requests_processing() == 0, 1, "the slot is free after the reset")
