// The SDK is a CommonJS package. Bundlers and TypeScript give its `default` to `import Portkey from 'portkey-ai'`, as
// its documentation writes it; plain Node gives the whole module. With `--import ./interop.mjs` Node does as they do.
import { register } from 'node:module';
import { isMainThread } from 'node:worker_threads';

if (isMainThread) register(import.meta.url);

export async function resolve(specifier, context, next) {
  if (specifier === 'portkey-ai') return { url: new URL('./portkey.mjs', import.meta.url).href, shortCircuit: true };
  return next(specifier, context);
}
