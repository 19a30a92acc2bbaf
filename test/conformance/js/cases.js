import { backupAndRestore, deleteAndRecover, purge } from "./life.js";
import { listDeleted, listSecrets, listVersions } from "./lists.js";
import { badInput, headers, identityByID, missing, noRights, wrongSecret } from "./refusals.js";
import { setAndGet, setAtOnce, updateProperties, validity, values } from "./values.js";

// cases run in this order: the lists first, in a vault that is still empty. "only" names the one
// sign-in that a case is about.
export const cases = [
  { name: "list secrets", run: listSecrets },
  { name: "list deleted secrets", run: listDeleted },
  { name: "list versions", run: listVersions },
  { name: "set and get", run: setAndGet },
  { name: "update properties", run: updateProperties },
  { name: "values", run: values },
  { name: "enabled and dates", run: validity },
  { name: "set at once", run: setAtOnce },
  { name: "delete and recover", run: deleteAndRecover },
  { name: "purge", run: purge },
  { name: "backup and restore", run: backupAndRestore },
  { name: "missing", run: missing },
  { name: "bad input", run: badInput },
  { name: "no rights", run: noRights },
  { name: "headers", run: headers },
  { name: "wrong client secret", run: wrongSecret },
  { name: "identity by id", only: "managed", run: identityByID },
];
