import { createRequire } from "node:module";
import { readFileSync } from "node:fs";
import path from "node:path";

// loadClients takes the SDK from the folder's node_modules, whichever release lies there.
export function loadClients(packages) {
  const require = createRequire(path.resolve(packages, "package.json"));
  const version = (name) => JSON.parse(readFileSync(path.join(packages, "node_modules", name, "package.json"), "utf8")).version;
  return {
    identity: require("@azure/identity"),
    secrets: require("@azure/keyvault-secrets"),
    releases: `identity ${version("@azure/identity")}, keyvault-secrets ${version("@azure/keyvault-secrets")}`,
  };
}

// A suite is what the cases share: the client of an identity that may use the vault, and the
// stranger, one without any right.
export function newSuite(clients, config) {
  const seen = new Observer();
  const suite = {
    config,
    seen,
    identity: clients.identity,
    newClient: (credential) =>
      new clients.secrets.SecretClient(config.vault, credential, {
        additionalPolicies: [{ policy: seen, position: "perRetry" }],
      }),
    withSecret: (id, secret) =>
      new clients.identity.ClientSecretCredential(config.tenant, id, secret, authority(config)),
  };
  suite.client = suite.newClient(credential(suite));
  suite.stranger = suite.newClient(suite.withSecret(config.strangerId, secretIn(config.strangerSecretFile)));
  return suite;
}

function authority(config) {
  return { authorityHost: config.authority, disableInstanceDiscovery: !config.discovery };
}

function secretIn(file) {
  return readFileSync(file, "utf8").trim();
}

function credential(suite) {
  const { config, identity } = suite;
  switch (config.signIn) {
    case "secret":
      return suite.withSecret(config.clientId, secretIn(config.secretFile));
    case "certificate":
      return new identity.ClientCertificateCredential(
        config.tenant, config.clientId, { certificatePath: config.certificateFile }, authority(config));
    case "managed":
      // What the quickstarts use; under "strongroom run" it finds the managed identity.
      return new identity.DefaultAzureCredential();
    default:
      throw new Error(`signIn "${config.signIn}": want secret, certificate or managed`);
  }
}

// An Observer is a policy of the SDK's pipeline that looks at each answer on its way.
class Observer {
  name = "conformanceObserver";
  answered = 0; // answers to requests that carried a token the server took
  apiVersion = "";
  last = {}; // the last answer, and the client request id that was sent
  #faults = []; // answers that the SDK would retry without a word

  sendRequest = async (request, next) => {
    const response = await next(request);
    const url = new URL(request.url);
    if (response.status !== 401) {
      this.answered++;
    }
    this.apiVersion = url.searchParams.get("api-version");
    this.last = {
      status: response.status, headers: response.headers, body: response.bodyAsText,
      asked: request.headers.get("x-ms-client-request-id"),
    };
    if (response.status >= 500 || response.status === 429) {
      this.#faults.push(`${request.method} ${url.pathname} was answered ${response.status}`);
    }
    return response;
  };

  takeFaults() {
    return this.#faults.splice(0);
  }
}
