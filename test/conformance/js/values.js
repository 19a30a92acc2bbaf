import { disabled } from "./findings.js";
import { collect, eachAtOnce, versionOf } from "./lists.js";

const hour = 3_600_000; // ms

// fromNow is a date in whole seconds, as the wire has them.
export const fromNow = (ms) => new Date(Math.floor((Date.now() + ms) / 1000) * 1000);

// setAndGet sets two versions with everything that a secret can carry, and reads both.
export async function setAndGet({ client, config }, found) {
  const name = "set-and-get";
  const want = {
    contentType: "text/plain; kind=test", tags: { env: "dev", empty: "" },
    enabled: true, notBefore: fromNow(-hour), expiresOn: fromNow(hour),
  };
  const first = await client.setSecret(name, "first", want);
  compare(found, "set", first, "first", want);
  await client.setSecret(name, "second");
  const latest = await client.getSecret(name);
  found.equal("value of the latest version", latest.value, "second");
  found.equal("content type of a version set without", latest.properties.contentType, undefined);
  const { version } = first.properties;
  const old = await client.getSecret(name, { version });
  compare(found, "get by version", old, "first", want);
  found.equal("id", old.properties.id, `${config.vault}/secrets/${name}/${version}`);
  const other = await client.getSecret(name.toUpperCase(), { version: version.toUpperCase() });
  found.equal("value by name and version in capitals", other.value, "first");
}

function compare(found, what, got, value, want) {
  found.equal(`${what}: value`, got.value, value);
  for (const [key, wanted] of Object.entries(want)) {
    found.equal(`${what}: ${key}`, got.properties[key], wanted);
  }
  found.equal(`${what}: recovery level`, got.properties.recoveryLevel, "Recoverable+Purgeable");
  found.equal(`${what}: recoverable days`, got.properties.recoverableDays, 90);
  found.equal(`${what}: managed`, got.properties.managed, undefined);
  const age = Math.abs(Date.now() - got.properties.createdOn);
  if (!(age < 60_000)) {
    found.add(`${what}: created ${age} ms from now, want about now`);
  }
}

// updateProperties changes the latest version without naming it, and an older one by name.
export async function updateProperties({ client }, found) {
  const name = "update";
  const first = await client.setSecret(name, "v1", { contentType: "a", tags: { one: "1", two: "2" } });
  await client.setSecret(name, "v2");
  const expiresOn = fromNow(24 * hour);
  const latest = await client.updateSecretProperties(name, "", { contentType: "b", expiresOn });
  found.equal("content type", latest.contentType, "b");
  found.equal("expires", latest.expiresOn, expiresOn);
  found.equal("enabled, not named in the update", latest.enabled, true);

  const { version } = first.properties;
  const old = await client.updateSecretProperties(name, version, { tags: { three: "3" } });
  found.equal("version", old.version, version);
  found.equal("content type, not named in the update", old.contentType, "a");
  const read = await client.getSecret(name, { version });
  found.equal("value after the update", read.value, "v1");
  found.equal("tags: the update replaces all", read.properties.tags, { three: "3" });
}

// values are those that encodings and limits tend to break.
export async function values({ client }, found) {
  for (const [name, value] of Object.entries({
    empty: "",
    unicode: "Grüße, 世界 🔑 \u2028 e\u0301 ﷽ \u{10FFFD}",
    escapes: '"\\/\b\f\n\r\t\u0001\u007f <script>&amp;%2F%00',
    json: '{"value":"nested","attributes":{"enabled":false}}',
    longest: "a".repeat(25_600),
    "longest-escaped": "\u0001".repeat(25_600),
    "three-byte": "界".repeat(8_500),
  })) {
    try {
      await client.setSecret(`value-${name}`, value);
      found.equal(`value ${name}`, (await client.getSecret(`value-${name}`)).value, value);
    } catch (err) {
      found.add(`value ${name}: ${err.message}`);
    }
  }
}

// validity reads secrets outside their dates, which are information only, and one that is
// disabled, which is refused, though it may be changed.
export async function validity({ client }, found) {
  for (const [name, options] of Object.entries({
    "valid-expired": { expiresOn: fromNow(-hour) },
    "valid-not-yet": { notBefore: fromNow(hour) },
  })) {
    await client.setSecret(name, "v", options);
    found.equal(`${name}: value`, (await client.getSecret(name)).value, "v");
  }
  const name = "valid-disabled";
  const made = await client.setSecret(name, "v", { enabled: false });
  found.equal("value in the answer to set", made.value, "v");
  await found.refused("get a disabled secret", () => client.getSecret(name), disabled);
  await client.updateSecretProperties(name, "", { enabled: true });
  found.equal("value after it was enabled again", (await client.getSecret(name)).value, "v");
}

// setAtOnce writes one name from many sides: each write is a version of its own.
export async function setAtOnce({ client }, found) {
  const name = "at-once";
  const n = 16;
  const made = new Map(); // version to value
  await eachAtOnce(Array.from({ length: n }, (_, i) => String(i)), async (value) => {
    made.set((await client.setSecret(name, value)).properties.version, value);
  });
  const { all } = await collect(client.listPropertiesOfSecretVersions(name), versionOf);
  found.equal("number of versions", all.length, n);
  for (const version of all) {
    found.equal(`value of version ${version}`, (await client.getSecret(name, { version })).value, made.get(version));
  }
  const latest = await client.getSecret(name);
  found.equal("the latest version is among those listed", all.includes(latest.properties.version), true);
}
