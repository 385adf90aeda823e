// Reads server-sent events from an answer, as OpenAI streams them.

/** The data of each event, as text, until `[DONE]` or the end of the body. */
export async function* events(response) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = '';
  for (;;) {
    const { value, done } = await reader.read();
    rest += value ?? '';
    const parts = rest.split(/\r?\n\r?\n/);
    rest = parts.pop();
    for (const data of parts.map(dataOf).filter(Boolean)) {
      if (data === '[DONE]') return;
      yield data;
    }
    if (done) return;
  }
}

const dataOf = event =>
  event
    .split(/\r?\n/)
    .filter(line => line.startsWith('data:'))
    .map(line => line.slice(5).trim())
    .join('\n');
