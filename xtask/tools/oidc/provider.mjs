// An identity provider for `cargo xtask oidc`: npm's oidc-provider with a robot (client
// credentials), a web page (code flow with PKCE) and keys that change when told to.
//
//   node provider.mjs PORT AUDIENCE MOVIES_ORIGIN_FILE
//
// POST /rotate  signs with a new key from then on and publishes the old ones, too
// POST /drop    publishes only the newest key
// GET /page     the web page that logs in and stores a movie
import { generateKeyPairSync, randomUUID } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { createRequire } from 'node:module';
import { pathToFileURL } from 'node:url';

// The packages lie where `cargo xtask` installs them, not beside this file: NODE_PATH says where,
// which `require` looks at and `import` does not.
const resolve = createRequire(import.meta.url).resolve;
const { default: Provider } = await import(pathToFileURL(resolve('oidc-provider')));

const [port, audience, moviesOriginFile] = process.argv.slice(2);
const issuer = `http://127.0.0.1:${port}`;
const keys = [];
let provider;

function newKey() {
  const { privateKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });
  return { ...privateKey.export({ format: 'jwk' }), kid: randomUUID(), alg: 'RS256', use: 'sig' };
}

function publish() {
  provider = new Provider(issuer, {
    jwks: { keys },
    clients: [
      {
        client_id: 'robot',
        client_secret: 'the-secret-of-the-robot',
        token_endpoint_auth_method: 'client_secret_post',
        grant_types: ['client_credentials'],
        redirect_uris: [],
        response_types: [],
      },
      {
        client_id: 'page',
        application_type: 'native',
        token_endpoint_auth_method: 'none',
        grant_types: ['authorization_code'],
        redirect_uris: [`${issuer}/page`],
        response_types: ['code'],
      },
    ],
    clientBasedCORS: () => true,
    cookies: { keys: ['only for tests'] },
    features: {
      clientCredentials: { enabled: true },
      devInteractions: { enabled: true },
      resourceIndicators: {
        enabled: true,
        defaultResource: () => audience,
        useGrantedResource: () => true,
        getResourceServerInfo: () => ({
          scope: 'movies:read movies:write movies:admin',
          audience,
          accessTokenFormat: 'jwt',
          jwt: { sign: { alg: 'RS256' } },
        }),
      },
    },
    pkce: { required: () => true },
    ttl: { AccessToken: 600, ClientCredentials: 600, Grant: 600, Interaction: 600, Session: 600, IdToken: 600 },
  });
}

function page() {
  const text = readFileSync(new URL('page.html', import.meta.url), 'utf8');
  const movies = readFileSync(moviesOriginFile, 'utf8').trim();
  return text.replaceAll('ISSUER', issuer).replaceAll('AUDIENCE', audience).replaceAll('MOVIES', movies);
}

const routes = {
  'POST /rotate': (response) => {
    keys.unshift(newKey());
    publish();
    response.end(keys[0].kid);
  },
  'POST /drop': (response) => {
    keys.splice(1);
    publish();
    response.end(keys[0].kid);
  },
  'GET /page': (response) => response.setHeader('content-type', 'text/html; charset=utf-8').end(page()),
};

keys.push(newKey());
publish();
createServer((request, response) => {
  const route = routes[`${request.method} ${request.url.split('?')[0]}`];
  if (route) {
    route(response);
  } else {
    provider.callback()(request, response);
  }
}).listen(Number(port), '127.0.0.1', () => console.log(`issuer ${issuer}`));
