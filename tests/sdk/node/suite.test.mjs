// openai-node against farebox in front of real llama-servers. tests/sdk/test_node.py starts those and runs this.
import assert from "node:assert/strict";
import { test } from "node:test";
import OpenAI from "openai";

const { FAREBOX_URL, FAREBOX_KEY, FAREBOX_LIMITED_KEY, ENGINE_URL, CHAT, SLASHED, EMBEDDING, CANARY } = process.env;
// Never retried here: what farebox answers is what the test sees.
const connect = (apiKey = FAREBOX_KEY, base = "/v1") =>
  new OpenAI({ apiKey, baseURL: FAREBOX_URL + base, maxRetries: 0, timeout: 60_000 });
const client = connect();
const ask = (more = {}) => ({
  model: CHAT,
  messages: [{ role: "user", content: `${CANARY}: ${more.text ?? "Say hello."}` }],
  max_tokens: 16,
  temperature: 0,
  ...Object.fromEntries(Object.entries(more).filter(([name]) => name !== "text")),
});
const collect = async (stream) => {
  const chunks = [];
  for await (const chunk of stream) chunks.push(chunk);
  return chunks;
};
const requestsProcessing = async () => {
  const text = await (await fetch(`${ENGINE_URL}/metrics`)).text();
  return Number(/^llamacpp:requests_processing (\S+)/m.exec(text)[1]);
};
const until = async (condition, withinMs, what) => {
  const deadline = performance.now() + withinMs;
  while (!(await condition())) {
    assert.ok(performance.now() < deadline, `not within ${withinMs} ms: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 10)); // between two looks at a condition
  }
};

for (const base of ["/v1", "/v1/openai"]) {
  for (const model of [CHAT, SLASHED]) {
    test(`a chat with ${model} under ${base}`, async () => {
      const answer = await connect(FAREBOX_KEY, base).chat.completions.create(ask({ model }));
      assert.ok(answer.choices[0].message.content);
      assert.ok(answer.usage.completion_tokens > 0);
      assert.ok(answer.usage.estimated_cost > 0);
      assert.ok(answer._request_id);
    });
  }

  for (const options of [undefined, { include_usage: false }, { include_usage: true }]) {
    test(`a streamed chat with ${JSON.stringify(options)} under ${base}`, async () => {
      const stream_options = options ? { stream_options: options } : {};
      const chunks = await collect(
        await connect(FAREBOX_KEY, base).chat.completions.create(ask({ stream: true, ...stream_options })),
      );
      assert.ok(chunks.map((chunk) => chunk.choices[0]?.delta.content ?? "").join(""));
      const withUsage = chunks.filter((chunk) => chunk.usage);
      if (options?.include_usage) {
        assert.deepEqual(withUsage, chunks.slice(-1));
        assert.deepEqual(withUsage[0].choices, []);
        assert.ok(withUsage[0].usage.estimated_cost > 0);
      } else {
        assert.deepEqual(withUsage, []);
        assert.ok(chunks.every((chunk) => chunk.choices.length === 1));
      }
    });
  }
}

test("a tool call", async () => {
  const answer = await client.chat.completions.create(ask(JSON.parse(process.env.TOOL_REQUEST)));
  const [call] = answer.choices[0].message.tool_calls;
  assert.equal(call.function.name, "get_weather");
  assert.ok(["Paris", "Rome"].includes(JSON.parse(call.function.arguments).city));
});

test("a JSON schema", async () => {
  const schema = {
    type: "object",
    properties: { legs: { type: "integer" } },
    required: ["legs"],
    additionalProperties: false,
  };
  const answer = await client.chat.completions.create(
    ask({ response_format: { type: "json_schema", json_schema: { name: "animal", strict: true, schema } }, max_tokens: 100 }),
  );
  assert.ok(Number.isInteger(JSON.parse(answer.choices[0].message.content).legs));
});

test("logprobs", async () => {
  const answer = await client.chat.completions.create(ask({ logprobs: true, top_logprobs: 2 }));
  assert.ok(answer.choices[0].logprobs.content.every((token) => token.top_logprobs.length === 2));
});

test("completions, whole and streamed", async () => {
  const request = { model: CHAT, prompt: `${CANARY} once upon`, max_tokens: 8 };
  const answer = await client.completions.create(request);
  assert.ok(answer.choices[0].text && answer.usage.completion_tokens > 0);
  const chunks = await collect(
    await client.completions.create({ ...request, stream: true, stream_options: { include_usage: true } }),
  );
  assert.ok(chunks.map((chunk) => chunk.choices[0]?.text ?? "").join(""));
  assert.ok(chunks.at(-1).usage.completion_tokens > 0);
});

test("embeddings: base64 by default equals floats, strings and tokens", async () => {
  const create = (input, more = {}) => client.embeddings.create({ model: EMBEDDING, input, ...more });
  const [byDefault, floats] = [await create(CANARY), await create(CANARY, { encoding_format: "float" })];
  assert.equal(byDefault.data[0].embedding.length, 576);
  floats.data[0].embedding.forEach((value, at) => {
    assert.ok(Math.abs(value - byDefault.data[0].embedding[at]) < 1e-5);
  });
  assert.equal((await create([CANARY, "two"])).data.length, 2);
  assert.equal((await create([[504, 253], [1187, 28]])).data.length, 2);
});

test("the model list, and one model with slashes in its name", async () => {
  const ids = [];
  for await (const model of client.models.list()) ids.push(model.id);
  for (const id of [CHAT, SLASHED, EMBEDDING]) assert.ok(ids.includes(id));
  assert.equal((await client.models.retrieve(SLASHED)).id, SLASHED);
});

const refusals = [
  ["a wrong key", OpenAI.AuthenticationError, "invalid_api_key", () => connect("fb_wrong").chat.completions.create(ask())],
  ["an unknown model", OpenAI.NotFoundError, "model_not_found", () => client.chat.completions.create(ask({ model: "a/b" }))],
  ["a prompt too long", OpenAI.BadRequestError, "context_length_exceeded", () =>
    client.chat.completions.create(ask({ text: "word ".repeat(6000) }))],
  ["no messages", OpenAI.BadRequestError, undefined, () => client.chat.completions.create(ask({ messages: [] }))],
  ["no engine", OpenAI.InternalServerError, undefined, () => client.chat.completions.create(ask({ model: "nobody-home" }))],
];
for (const [what, Class, code, call] of refusals) {
  test(`${what} raises ${Class.name}`, async () => {
    await assert.rejects(call, (error) => {
      assert.ok(error instanceof Class, `${error}`);
      assert.deepEqual(Object.keys(error.error).sort(), ["code", "message", "param", "type"]);
      if (code) assert.equal(error.code, code);
      assert.ok(error.requestID);
      return true;
    });
  });
}

test("one request too many raises RateLimitError; leaving the stream frees the permit and the slot", async () => {
  const limited = connect(FAREBOX_LIMITED_KEY);
  const controller = new AbortController();
  const held = await limited.chat.completions.create(
    ask({ stream: true, max_tokens: 3000, ignore_eos: true }),
    { signal: controller.signal },
  );
  const events = held[Symbol.asyncIterator]();
  await events.next();
  assert.equal(await requestsProcessing(), 1);
  await assert.rejects(limited.chat.completions.create(ask()), (error) => {
    assert.ok(error instanceof OpenAI.RateLimitError, `${error}`);
    assert.equal(error.code, "concurrency_limit_exceeded");
    assert.equal(error.headers.get("x-ratelimit-limit-concurrent"), "1");
    assert.ok(error.headers.get("retry-after"));
    return true;
  });
  controller.abort();
  await until(async () => (await requestsProcessing()) === 0, 1000, "the engine's slot is free");
  await until(
    () => limited.chat.completions.create(ask({ max_tokens: 1 })).then(() => true, (error) => {
      if (!(error instanceof OpenAI.RateLimitError)) throw error;
    }),
    1000,
    "the permit is free",
  );
});
