import { badParameter, noRight, notFound } from "./findings.js";

// missing asks for what is not there.
export async function missing({ client }, found) {
  const nobody = "nobody";
  const version = "0".repeat(32);
  await client.setSecret("missing", "v");
  let message = await found.refused("get an unknown name", () => client.getSecret(nobody), notFound);
  found.holds("message", message, `A secret with (name/id) ${nobody} was not found in this key vault.`);
  message = await found.refused("get an unknown version", () => client.getSecret("missing", { version }), notFound);
  found.holds("message", message, `missing/${version}`);
  await found.refused("update an unknown name", () => client.updateSecretProperties(nobody, "", { contentType: "x" }), notFound);
  await found.refused("delete an unknown name", () => client.beginDeleteSecret(nobody), notFound);
  await found.refused("back up an unknown name", () => client.backupSecret(nobody), notFound);
  message = await found.refused("get an unknown deleted name", () => client.getDeletedSecret(nobody), notFound);
  found.holds("message", message, `Deleted Secret not found: ${nobody}`);
  await found.refused("recover an unknown name", () => client.beginRecoverDeletedSecret(nobody), notFound);
  await found.refused("purge an unknown name", () => client.purgeDeletedSecret(nobody), notFound);
}

const tags = (n) => Object.fromEntries(Array.from({ length: n }, (_, i) => [`tag${i}`, "v"]));

// badInput sets what the service does not take; nothing of it is stored.
export async function badInput({ client }, found) {
  for (const { what, name = "bad", value = "v", options = {}, want = "" } of [
    { what: "a name with an underscore", name: "bad_name", want: "The request URI contains an invalid name: bad_name" },
    { what: "a name with a slash", name: "bad/name" },
    { what: "a name of 128 characters", name: "n".repeat(128), want: "The request URI contains an invalid name" },
    { what: "a value of 25,601 characters", value: "a".repeat(25_601), want: "Secret is beyond the maximum permitted length of 25600 characters." },
    { what: "16 tags", options: { tags: tags(16) } },
    { what: "a tag value of 513 characters", options: { tags: { t: "v".repeat(513) } } },
    { what: "a tag name of 513 characters", options: { tags: { ["t".repeat(513)]: "v" } } },
    { what: "a content type of 256 characters", options: { contentType: "c".repeat(256) } },
  ]) {
    const message = await found.refused(what, () => client.setSecret(name, value, options), badParameter);
    found.holds(`${what}: message`, message, want);
  }
  await found.refused("get after the refusals", () => client.getSecret("bad"), notFound);
  await found.refused("a page size of 26", () => firstPage(client.listPropertiesOfSecrets(), 26), badParameter);
  await client.setSecret("good", "v", { tags: tags(15), contentType: "c".repeat(255) });
}

const firstPage = (pager, maxPageSize) => pager.byPage({ maxPageSize }).next();

// noRights tries every operation as an identity without any right. Permission is judged before
// existence, so an unknown name is refused in the same way.
export async function noRights({ client, stranger, config }, found) {
  await client.setSecret("guarded", "v");
  for (const name of ["guarded", "unknown"]) {
    for (const [action, call] of [
      ["getSecret/action", () => stranger.getSecret(name)],
      ["setSecret/action", () => stranger.setSecret(name, "x")],
      ["update/action", () => stranger.updateSecretProperties(name, "", { contentType: "x" })],
      ["delete", () => stranger.beginDeleteSecret(name)],
      ["backup/action", () => stranger.backupSecret(name)],
      ["readMetadata/action", () => firstPage(stranger.listPropertiesOfSecretVersions(name))],
      ["readMetadata/action", () => stranger.getDeletedSecret(name)],
      ["purge/action", () => stranger.purgeDeletedSecret(name)],
    ]) {
      const message = await found.refused(`${action} of ${name}`, call, noRight);
      found.holds("message", message, `Action: 'Microsoft.KeyVault/vaults/secrets/${action}'`);
      found.holds("message", message, `Caller: appid=${config.strangerId}`);
    }
    // The SDK first looks whether the secret is alive, and is refused there.
    await found.refused(`recover ${name}`, () => stranger.beginRecoverDeletedSecret(name), noRight);
  }
  await found.refused("list", () => firstPage(stranger.listPropertiesOfSecrets()), noRight);
  await found.refused("list deleted", () => firstPage(stranger.listDeletedSecrets()), noRight);
  await found.refused("restore", () => stranger.restoreSecretBackup(new Uint8Array(1)), noRight);
  found.equal("value after the refusals", (await client.getSecret("guarded")).value, "v");
}

// headers looks at what every answer carries.
export async function headers({ client, seen }, found) {
  await client.setSecret("headers", "v");
  const { headers: got, asked } = seen.last;
  for (const [name, want] of Object.entries({
    "content-type": "application/json; charset=utf-8",
    "cache-control": "no-cache",
    "x-content-type-options": "nosniff",
    "strict-transport-security": "max-age=31536000;includeSubDomains",
    "x-ms-client-request-id": asked,
  })) {
    found.equal(name, got.get(name), want);
  }
  for (const name of ["x-ms-request-id", "x-ms-keyvault-region", "x-ms-keyvault-service-version"]) {
    found.equal(`${name} is there`, Boolean(got.get(name)), true);
  }
}

// failure gives what was thrown.
async function failure(call) {
  try {
    await call();
  } catch (err) {
    return `${err.name}: ${err.message}`;
  }
  return "no failure";
}

// wrongSecret signs in with a secret that is not the identity's.
export async function wrongSecret({ config, newClient, withSecret }, found) {
  for (const { what, id, want } of [
    { what: "wrong secret", id: config.strangerId, want: "AADSTS7000215" },
    { what: "unknown client", id: "00000000-1111-2222-3333-444444444444", want: "AADSTS700016" },
  ]) {
    const client = newClient(withSecret(id, "not-the-secret"));
    found.holds(what, await failure(() => client.getSecret("any")), want);
  }
}

// identityByID names the managed identity by its client id, and one that the run does not have.
export async function identityByID({ config, identity, newClient }, found) {
  const managed = (clientId) => new identity.ManagedIdentityCredential({ clientId });
  await firstPage(newClient(managed(config.clientId)).listPropertiesOfSecrets());
  const refused = await failure(() => managed(config.strangerId).getToken("https://vault.azure.net/.default"));
  found.holds("token of an identity that is not the run's", refused, "Identity not found");
}
