"""vLLM that falls silent while it streams, and vLLM that is told to stop: it may do either, and say no goodbye."""

import contextlib
import os
import signal
import threading
import time

import openai

from conftest import BETWEEN_TOKENS_S
from processes import until

STREAMS = 9


class Stream(threading.Thread):
    """One client that reads until the end, or until it is told of an error."""

    def __init__(self, client, number):
        super().__init__(daemon=True)
        self.client, self.number = client, number
        self.chunks, self.finished, self.error, self.last_at, self.ended_at = 0, None, None, None, None

    def run(self):
        try:
            stream = self.client.chat.completions.create(
                model="tiny", stream=True, max_tokens=3000, extra_body={"ignore_eos": True},
                messages=[{"role": "user", "content": f"{self.number}: write a long story."}],
            )
            for chunk in stream:
                self.chunks += 1
                self.last_at = time.monotonic()
                if chunk.choices and chunk.choices[0].finish_reason:
                    self.finished = chunk.choices[0].finish_reason
        except openai.APIError as error:
            self.error = error
        self.ended_at = time.monotonic()


def streams_that_flow(client):
    streams = [Stream(client, number) for number in range(STREAMS)]
    for stream in streams:
        stream.start()
    until(lambda: all(stream.chunks > 3 for stream in streams), 60, "every stream flows")
    return streams


def busiest(engines, metric):
    """The engine with the most streams, and how many."""
    in_flight = {engine: metric("farebox_engine_in_flight_requests", engine=engine.name) for engine in engines}
    victim = max(engines, key=in_flight.get)
    assert in_flight[victim] > 0
    return victim, in_flight[victim]


def all_end(streams, told_at, cut):
    """Of all streams, so many end with an error in time, and the others whole."""
    for stream in streams:
        stream.join(180)
        assert not stream.is_alive(), "a client was left hanging"
    broken = [stream for stream in streams if stream.error]
    print([(stream.chunks, stream.finished, str(stream.error)[:90]) for stream in streams])
    print(f"told of it after {[round(stream.ended_at - told_at, 1) for stream in broken]} s")
    assert len(broken) == cut
    for stream in broken:
        assert stream.finished is None, "a cut stream looked complete"
        assert stream.ended_at - stream.last_at < BETWEEN_TOKENS_S + 3
    assert all(stream.finished == "length" for stream in streams if not stream.error)


def every_slot_is_given_back(metric):
    until(lambda: metric("farebox_engine_in_flight_requests") == 0, 10, "every slot is given back")
    assert metric("farebox_in_flight_requests") == 0


@contextlib.contextmanager
def stopped(engine):
    """Every process of the engine stands still: its sockets stay open, and nothing comes of them."""
    os.killpg(engine.child.pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.killpg(engine.child.pid, signal.SIGCONT)


def test_streams_of_an_engine_that_is_told_to_stop_end_with_an_error(engines, client, metric, heard):
    streams = streams_that_flow(client)
    victim, cut = busiest(engines, metric)
    victim.child.terminate()
    all_end(streams, time.monotonic(), cut)
    every_slot_is_given_back(metric)
    until(lambda: metric("farebox_engine_usable", engine=victim.name) == 0, 30, "the engine is out")
    # The others serve, and what the dead one told is not believed any more.
    client.completions.create(model="tiny", prompt="still here?", max_tokens=1)
    until(lambda: metric("farebox_kv_events_heard", engine=victim.name) == 0, 30, "nobody hears it")


def test_streams_of_an_engine_that_falls_silent_end_with_an_error(engines, client, metric):
    # Last: an engine that goes on again may do so at a tenth of its speed, and pause for longer than it may.
    streams = streams_that_flow(client)
    victim, cut = busiest(engines, metric)
    with stopped(victim):
        all_end(streams, time.monotonic(), cut)
        every_slot_is_given_back(metric)
        until(lambda: metric("farebox_engine_usable", engine=victim.name) == 0, 30, "the engine is out")
        client.completions.create(model="tiny", prompt="still here?", max_tokens=1)
    until(lambda: metric("farebox_engine_usable", engine=victim.name) == 1, 60, "the engine is back")
