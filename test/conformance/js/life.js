import { badParameter, conflict, isDeleted, notFound } from "./findings.js";
import { collect, versionOf } from "./lists.js";
import { fromNow } from "./values.js";

const day = 86_400_000; // ms

// deleteAndRecover takes a secret to the deleted ones and back by the SDK's pollers, and looks at
// what is refused meanwhile.
export async function deleteAndRecover({ client, config }, found) {
  const name = "recover";
  await client.setSecret(name, "one");
  const made = await client.setSecret(name, "two", { tags: { t: "1" } });
  const gone = await (await client.beginDeleteSecret(name)).pollUntilDone();
  compareDeleted(found, "delete", gone, config.vault);
  found.equal("id in the answer to delete", gone.properties.id, made.properties.id);
  compareDeleted(found, "get deleted", await client.getDeletedSecret(name), config.vault);
  await whileDeleted(client, found, name);

  const back = await (await client.beginRecoverDeletedSecret(name)).pollUntilDone();
  found.equal("version in the answer to recover", back.version, made.properties.version);
  const got = await client.getSecret(name);
  found.equal("value after recovery", got.value, "two");
  found.equal("tags after recovery", got.properties.tags, { t: "1" });
  const { all } = await collect(client.listPropertiesOfSecretVersions(name), versionOf);
  found.equal("versions after recovery", all.length, 2);
  await found.refused("get deleted after recovery", () => client.getDeletedSecret(name), notFound);
}

function compareDeleted(found, what, got, vault) {
  const { name, recoveryId, deletedOn, scheduledPurgeDate } = got.properties;
  found.equal(`${what}: value`, got.value, undefined);
  found.equal(`${what}: recovery id`, recoveryId, `${vault}/deletedsecrets/${name}`);
  // The server shows the end of the retention in whole seconds, rounded up.
  const kept = scheduledPurgeDate - deletedOn;
  found.equal(`${what}: kept for 90 days, was ${kept} ms`, kept === 90 * day || kept === 90 * day + 1000, true);
}

// whileDeleted tries what must not work on a deleted secret.
async function whileDeleted(client, found, name) {
  await found.refused("get a deleted secret", () => client.getSecret(name), notFound);
  await found.refused("set a deleted name", () => client.setSecret(name, "x"), isDeleted);
  await found.refused("update a deleted secret", () => client.updateSecretProperties(name, "", { contentType: "x" }), notFound);
  await found.refused("delete a deleted secret", () => client.beginDeleteSecret(name), notFound);
}

// purge removes a deleted secret for good: nothing brings it back, and its name is free.
export async function purge({ client }, found) {
  const name = "purge";
  await client.setSecret(name, "old");
  await found.refused("purge a live secret", () => client.purgeDeletedSecret(name), notFound);
  await (await client.beginDeleteSecret(name)).pollUntilDone();
  await client.purgeDeletedSecret(name);
  await found.refused("get deleted after the purge", () => client.getDeletedSecret(name), notFound);
  await found.refused("recover after the purge", () => client.beginRecoverDeletedSecret(name), notFound);
  await client.setSecret(name, "new");
  const { all } = await collect(client.listPropertiesOfSecretVersions(name), versionOf);
  found.equal("versions of the name used anew", all.length, 1);
}

// backupAndRestore takes a secret of two versions away and brings it back from its backup.
export async function backupAndRestore({ client }, found) {
  const name = "backup";
  await client.setSecret(name, "one");
  const made = await client.setSecret(name, "two", { contentType: "ct", tags: { t: "1" }, expiresOn: fromNow(day) });
  const blob = await client.backupSecret(name);
  await found.refused("restore over a live secret", () => client.restoreSecretBackup(blob), conflict);
  await (await client.beginDeleteSecret(name)).pollUntilDone();
  await found.refused("restore over a deleted secret", () => client.restoreSecretBackup(blob), isDeleted);
  await client.purgeDeletedSecret(name);
  const back = await client.restoreSecretBackup(blob);
  for (const key of ["id", "enabled", "expiresOn", "notBefore", "createdOn", "updatedOn", "recoveryLevel", "recoverableDays", "tags"]) {
    found.equal(`${key} after restore`, back[key], made.properties[key]);
  }
  const got = await client.getSecret(name);
  found.equal("value after restore", got.value, "two");
  found.equal("content type after restore", got.properties.contentType, "ct");
  const { all } = await collect(client.listPropertiesOfSecretVersions(name), versionOf);
  found.equal("versions after restore", all.length, 2);
  const bad = new TextEncoder().encode("no backup of ours");
  await found.refused("restore what is no backup", () => client.restoreSecretBackup(bad), badParameter);
}
