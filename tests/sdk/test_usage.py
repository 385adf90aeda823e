"""The official SDK's admin resources read usage and costs: OpenAI's types, filled by farebox."""

import json
import time
from decimal import Decimal
from fractions import Fraction

import pytest

from catalog import CHAT, EMBEDDING
from processes import http


@pytest.fixture
def used(client, ask):
    """Two chats and an embedding, and how many tokens the SDK saw of each."""
    chats = [client.chat.completions.create(**ask(f"Say {word}.")).usage for word in ("one", "two")]
    return chats, client.embeddings.create(model=EMBEDDING, input="three").usage


@pytest.fixture
def usage(connect, account):
    return connect(account.key, admin_api_key=account.key).admin.organization.usage


def of(page):
    assert page.object == "page" and page.has_more is False and page.next_page is None
    return [result for bucket in page.data for result in bucket.results]


def test_usage_comes_in_the_sdk_s_own_types(usage, used, account):
    chats, embedding = used
    since = int(time.time()) - 3600
    [found] = of(usage.completions(start_time=since, group_by=["model", "api_key_id"], models=[CHAT]))
    assert type(found).__name__ == "DataResultOrganizationUsageCompletionsResult"
    assert (found.model, found.num_model_requests) == (CHAT, 2)
    assert found.input_tokens == sum(chat.prompt_tokens for chat in chats)
    assert found.output_tokens == sum(chat.completion_tokens for chat in chats)
    assert found.api_key_id.startswith("key_")
    [found] = of(usage.embeddings(start_time=since, bucket_width="1d"))
    assert type(found).__name__ == "DataResultOrganizationUsageEmbeddingsResult"
    assert (found.num_model_requests, found.input_tokens) == (1, embedding.prompt_tokens)


def test_costs_and_line_items_are_the_bill(usage, used, account, farebox):
    since = int(time.time()) - 3600
    billed = farebox.usage_of(account)["cost"]
    whole, items = of(usage.costs(start_time=since)), of(usage.costs(start_time=since, group_by=["line_item"]))
    assert {type(found).__name__ for found in whole + items} == {"DataResultOrganizationCostsResult"}
    for found in (whole, items):
        assert sum(int(result.amount.picodollars) for result in found) == billed
    assert {item.line_item.rsplit(", ", 1)[1] for item in items} >= {"input_tokens", "output_tokens"}
    assert all(item.quantity_unit == "tokens" and item.amount.currency == "usd" for item in items)


def test_pages_are_followed(usage, used):
    now = int(time.time())
    pages, page, requests = 0, None, 0
    while page is None or page.has_more:
        more = {"page": page.next_page} if page else {}
        page = usage.completions(start_time=now - 3 * 3600, bucket_width="1h", limit=1, **more)
        requests += sum(result.num_model_requests for bucket in page.data for result in bucket.results)
        pages += 1
    assert pages in (3, 4) and requests == 2


def test_a_receipt_and_the_answer_say_the_same_cost(client, ask, account, farebox):
    raw = client.chat.completions.with_raw_response.create(**ask("Say four."))
    request_id = raw.headers["x-request-id"]
    told = json.loads(raw.text, parse_float=Decimal)["usage"]["estimated_cost"]
    status, _, body = http(f"{farebox.url}/v1/receipts/{request_id}", token=account.key)
    receipt = json.loads(body)
    assert status == 200 and Decimal(receipt["cost"]["usd"]) == told
    assert sum(int(line["amount"]["picodollars"]) for line in receipt["lines"]) == int(receipt["cost"]["picodollars"])
    status, _, body = http(
        f"{farebox.url}/v1/request-costs", token=account.key, method="POST",
        body=json.dumps({"requestIds": [request_id]}).encode(), headers={"content-type": "application/json"},
    )
    [cost] = json.loads(body)["requests"]
    assert status == 200 and cost["requestId"] == request_id
    assert abs(Fraction(cost["costNanoUsd"]) - Fraction(cost["costPicoUsd"]) / 1000) <= Fraction(1, 2)
