// A judge of the wire: runs every operation, pager, poller and refusal of secrets through
// Microsoft's own JavaScript clients, unmodified and with the challenge check on.
//
//   node main.js CONFIG PACKAGES
//
// CONFIG is a JSON file that says where to sign in (the fields are those of ../go/main.go).
// PACKAGES is a folder with node_modules: this one has the newest releases that run on Node 20,
// ../js-old those of about two years earlier. One JSON object a line is printed: first who it is,
// then each case, then what was counted.
import { readFileSync } from "node:fs";
import { cases } from "./cases.js";
import { Findings } from "./findings.js";
import { loadClients, newSuite } from "./signin.js";

const caseLimit = 60_000; // ms; a client that retries for minutes has found a fault

async function main([configFile, packages]) {
  if (!configFile || !packages) {
    throw new Error("want two arguments, the file that says where to sign in and the folder of the packages");
  }
  const clients = loadClients(packages);
  const config = JSON.parse(readFileSync(configFile, "utf8"));
  config.vault ||= process.env.AZURE_KEYVAULT_URL; // as "strongroom run" has set it
  const suite = newSuite(clients, config);
  print({ client: clients.releases });
  for (const c of cases) {
    if (!c.only || c.only === suite.config.signIn) {
      print(await judge(suite, c));
    }
  }
  print({ apiVersion: suite.seen.apiVersion, answered: suite.seen.answered });
}

async function judge(suite, { name, run }) {
  const start = performance.now();
  const found = new Findings(suite.seen);
  try {
    await withLimit(run(suite, found));
  } catch (err) {
    found.add(`${err.name}: ${err.message}`);
  }
  const problems = [...found.problems, ...suite.seen.takeFaults()];
  return { case: name, ok: problems.length === 0, ms: Math.round(performance.now() - start), problems };
}

async function withLimit(work) {
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`not done within ${caseLimit / 1000} s`)), caseLimit);
  });
  try {
    return await Promise.race([work, late]);
  } finally {
    clearTimeout(timer);
  }
}

function print(line) {
  process.stdout.write(JSON.stringify(line) + "\n");
}

main(process.argv.slice(2)).catch((err) => {
  process.stderr.write(`conformance: ${err.message}\n`);
  process.exitCode = 1;
});
