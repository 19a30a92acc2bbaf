// A program as the JavaScript quickstart of Azure Key Vault secrets has it: the default credential,
// the address of the vault in the code, and no other option. It prints what it did.
//
//   node quickstart.js
import { DefaultAzureCredential } from "@azure/identity";
import { SecretClient } from "@azure/keyvault-secrets";

const url = "https://contoso-payroll.vault.azure.net";
const name = "quickstart-js";
const value = "created with JavaScript";

const client = new SecretClient(url, new DefaultAzureCredential());

const set = await client.setSecret(name, value);
console.log("set", set.name);
const got = await client.getSecret(name);
console.log("got", got.value);
for await (const properties of client.listPropertiesOfSecrets()) {
  if (properties.name === name) {
    console.log("listed", properties.name);
  }
}
await (await client.beginDeleteSecret(name)).pollUntilDone();
console.log("deleted", name);
await (await client.beginRecoverDeletedSecret(name)).pollUntilDone();
console.log("recovered", name);
await (await client.beginDeleteSecret(name)).pollUntilDone();
await client.purgeDeletedSecret(name);
console.log("purged", name);
