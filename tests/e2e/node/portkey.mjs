import { createRequire } from 'node:module';

const sdk = createRequire(import.meta.url)('portkey-ai');

export default sdk.default;
export const { Portkey, createHeaders, PORTKEY_GATEWAY_URL } = sdk;
