// What the end-to-end tests do in Node: `node scenarios.mjs NAME JSON` runs one function and prints what it returns.
import Anthropic from '@anthropic-ai/sdk';
import OpenAI, { toFile } from 'openai';
import { Portkey, createHeaders } from './portkey.mjs';

const HELLO = [{ role: 'user', content: 'Say this is a test' }];
const CITY = { type: 'object', properties: { city: { type: 'string' } }, required: ['city'] };
const TOOLS = ['weather', 'time'].map((name) => ({ type: 'function', function: { name, parameters: CITY } }));
const USE_BOTH = [{ role: 'user', content: 'Use the tools weather and time for Paris' }];

const portkeyAt = ({ url, key, options }) => new Portkey({ apiKey: key, baseURL: `${url}/v1`, ...options });
const openaiAt = ({ url, key, headers }) =>
  new OpenAI({ apiKey: key, baseURL: `${url}/v1`, maxRetries: 0, defaultHeaders: headers });
const anthropicAt = ({ url, key }) => new Anthropic({ apiKey: key, baseURL: url, maxRetries: 0 });

/** The text, finish reasons and tool calls of a chat stream. */
async function collected(stream) {
  const found = { text: '', finish: [], calls: {} };
  for await (const chunk of stream) {
    for (const { delta, finish_reason } of chunk.choices) {
      found.text += delta.content ?? '';
      for (const call of delta.tool_calls ?? []) {
        const known = (found.calls[call.index] ??= { name: '', arguments: '' });
        known.name += call.function.name ?? '';
        known.arguments += call.function.arguments ?? '';
      }
      if (finish_reason) found.finish.push(finish_reason);
    }
  }
  return found;
}

/** What a promise is rejected with, as plain data. */
async function rejection(promise) {
  try {
    return { resolved: await promise };
  } catch (error) {
    return { name: error.constructor.name, status: error.status, message: String(error.message), error: error.error };
  }
}

const scenarios = {
  async chat({ model, ...at }) {
    const answer = await portkeyAt(at).chat.completions.create({ model, messages: HELLO, max_tokens: 100 });
    return { answer, headers: answer.getHeaders() };
  },

  async stream({ model, ...at }) {
    return collected(await portkeyAt(at).chat.completions.create({ model, messages: HELLO, stream: true }));
  },

  async completions({ model, ...at }) {
    const client = portkeyAt(at);
    const body = { model, prompt: 'Say this is a test', max_tokens: 100 };
    const whole = await client.completions.create(body);
    let text = '';
    for await (const chunk of await client.completions.create({ ...body, stream: true })) text += chunk.choices[0].text;
    return { object: whole.object, text: whole.choices[0].text, streamed: text };
  },

  async withoutModel(at) {
    return portkeyAt(at).chat.completions.create({ messages: HELLO });
  },

  async perCall({ options, call, ...at }) {
    const answer = await portkeyAt({ ...at, options }).chat.completions.create({ model: 'gpt-4o', messages: HELLO }, call);
    return answer.getHeaders();
  },

  async failure({ model, ...at }) {
    return rejection(portkeyAt(at).chat.completions.create({ model, messages: HELLO }));
  },

  async embeddings({ model, ...at }) {
    const answer = await portkeyAt(at).embeddings.create({ model, input: ['one', 'two'] });
    return answer.data.map(({ embedding }) => embedding.length);
  },

  async models(at) {
    return (await portkeyAt(at).models.list()).data.map(({ id }) => id);
  },

  async openai({ model, ...at }) {
    const client = openaiAt(at);
    const whole = await client.chat.completions.create({ model, messages: HELLO });
    const tools = { model, messages: USE_BOTH, tools: TOOLS };
    const called = await client.chat.completions.create(tools);
    return {
      text: whole.choices[0].message.content,
      usage: whole.usage.total_tokens,
      calls: called.choices[0].message.tool_calls.map((call) => call.function.name),
      stream: await collected(await client.chat.completions.create({ model, messages: HELLO, stream: true })),
      toolStream: await collected(await client.chat.completions.create({ ...tools, stream: true })),
      failure: await rejection(client.chat.completions.create({ model: `${model}::status=429`, messages: HELLO })),
      cut: await rejection(
        client.chat.completions
          .create({ model: `${model}::chunks=20,fin_after=1500`, messages: HELLO, stream: true })
          .then(collected),
      ),
    };
  },

  async openaiWithPortkeyHeaders({ url, key, options }) {
    const client = new OpenAI({
      apiKey: 'not-a-key',
      baseURL: `${url}/v1`,
      maxRetries: 0,
      defaultHeaders: createHeaders({ apiKey: key, ...options }),
    });
    return client.chat.completions.create({ model: 'gpt-4o', messages: HELLO });
  },

  async openaiRest(at) {
    const client = openaiAt(at);
    const speech = await client.audio.speech.create({ model: 'tts-1', voice: 'alloy', input: 'hi' });
    const file = await toFile(Buffer.alloc(100_000, 7), 'a.mp3');
    const heard = await client.audio.transcriptions.create({ model: 'whisper-1', file });
    const uploaded = await client.files.create({ file: await toFile(Buffer.from('{}\n'), 'a.jsonl'), purpose: 'batch' });
    return {
      speech: (await speech.arrayBuffer()).byteLength,
      heard: heard.text,
      uploaded: uploaded.bytes,
      flagged: (await client.moderations.create({ input: 'violence' })).results[0].flagged,
    };
  },

  async anthropic({ model, ...at }) {
    const client = anthropicAt(at);
    const body = { model, messages: HELLO, max_tokens: 100 };
    const whole = await client.messages.create(body);
    const tools = ['weather', 'time'].map((name) => ({ name, input_schema: CITY }));
    const called = await client.messages.stream({ ...body, messages: USE_BOTH, tools }).finalMessage();
    return {
      text: whole.content[0].text,
      stop: whole.stop_reason,
      usage: whole.usage,
      streamed: await client.messages.stream(body).finalText(),
      calls: called.content.map(({ type, name, input }) => ({ type, name, keys: Object.keys(input) })),
      counted: (await client.messages.countTokens({ model, messages: HELLO })).input_tokens,
      failure: await rejection(client.messages.create({ ...body, model: `${model}::status=429` })),
    };
  },

  async administration({ upstream, ...at }) {
    const admin = portkeyAt(at);
    const seen = {};

    const stored = await admin.virtualKeys.create({
      name: 'From Node', provider: 'openai', key: 'sk-node-secret-0001', note: 'first', custom_host: `${upstream}/v1`,
    });
    const { slug } = stored;
    await admin.virtualKeys.update({ slug, note: 'second' });
    seen.virtualKey = await admin.virtualKeys.retrieve({ slug });
    seen.virtualKeys = (await admin.virtualKeys.list()).data.map((row) => row.slug);

    const config = await admin.configs.create({ name: 'from node', config: { virtual_key: slug } });
    await admin.configs.update({ slug: config.slug, config: { virtual_key: slug, retry: { attempts: 1 } } });
    seen.config = await admin.configs.retrieve({ slug: config.slug });
    seen.configs = (await admin.configs.list()).data.map((row) => row.slug);

    const made = await admin.apiKeys.create({
      type: 'workspace', 'sub-type': 'service', name: 'from node', scopes: ['completions.write'],
      defaults: { config_id: config.slug },
    });
    await admin.apiKeys.update({ id: made.id, name: 'renamed' });
    seen.apiKey = await admin.apiKeys.retrieve({ id: made.id });
    seen.apiKeys = (await admin.apiKeys.list({})).data.map((row) => row.id);
    const client = portkeyAt({ url: at.url, key: made.key });
    seen.used = (await client.chat.completions.create({ model: 'gpt-4o', messages: HELLO })).choices[0].message.content;

    await admin.apiKeys.delete({ id: made.id });
    seen.refused = await rejection(client.chat.completions.create({ model: 'gpt-4o', messages: HELLO }));
    await admin.configs.delete({ slug: config.slug });
    await admin.virtualKeys.delete({ slug });
    seen.gone = await rejection(admin.virtualKeys.retrieve({ slug }));
    return { slug, config: config.slug, apiKey: made.id, seen };
  },

  async integrations({ upstream, ...at }) {
    const admin = portkeyAt(at);
    const seen = {};
    const integration = await admin.integrations.create({
      name: 'Node', ai_provider_id: 'openai', key: 'sk-node-secret-0002', slug: 'node-integration',
      configurations: { custom_host: `${upstream}/v1` },
    });
    const provider = await admin.providers.create({
      name: 'Node', integration_id: integration.slug, slug: 'node-provider',
    });
    await admin.integrations.update({ slug: integration.slug, description: 'changed' });
    await admin.providers.update({ slug: provider.slug, note: 'changed' });
    seen.integration = await admin.integrations.retrieve({ slug: integration.slug });
    seen.provider = await admin.providers.retrieve({ slug: provider.slug });
    seen.integrations = (await admin.integrations.list({})).data.map((row) => row.slug);
    seen.providers = (await admin.providers.list({})).data.map((row) => row.slug);
    await admin.providers.delete({ slug: provider.slug });
    await admin.integrations.delete({ slug: integration.slug });
    seen.gone = await rejection(admin.integrations.retrieve({ slug: integration.slug }));
    return seen;
  },
};

const [name, given] = process.argv.slice(2);
console.log(JSON.stringify((await scenarios[name](JSON.parse(given))) ?? null));
