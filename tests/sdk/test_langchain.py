"""LangChain, unchanged but for its base URL."""

import pytest

from catalog import CANARY, CHAT, EMBEDDING

langchain_openai = pytest.importorskip("langchain_openai")


def test_chat_and_streamed_chat(farebox, account):
    model = langchain_openai.ChatOpenAI(
        model=CHAT, base_url=f"{farebox.url}/v1", api_key=account.key, max_tokens=12, max_retries=0, stream_usage=True
    )
    answer = model.invoke(f"{CANARY}: Say hello.")
    assert answer.content and answer.usage_metadata["output_tokens"] > 0
    chunks = list(model.stream(f"{CANARY}: Say hello."))
    assert "".join(chunk.content for chunk in chunks)
    assert any(chunk.usage_metadata for chunk in chunks)


def test_embeddings(farebox, account):
    model = langchain_openai.OpenAIEmbeddings(
        # Without this it fetches a tokenizer, to send tokens of a model that is not ours.
        model=EMBEDDING, base_url=f"{farebox.url}/v1", api_key=account.key, check_embedding_ctx_length=False
    )
    assert [len(vector) for vector in model.embed_documents([CANARY, "two"])] == [576, 576]
