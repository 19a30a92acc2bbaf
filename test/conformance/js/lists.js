// paged is how many secrets the vault has while the lists are read; the page sizes are the
// service's default and one that a client asks for.
const paged = 60;
const defaultPage = 25;
const smallPage = 10;

const pagedNames = Array.from({ length: paged }, (_, i) => `list-${String(i).padStart(2, "0")}`);

// collect reads a pager to its end: the size of each page, and of all items what pick takes.
export async function collect(pager, pick, maxPageSize) {
  const sizes = [];
  const all = [];
  for await (const page of pager.byPage(maxPageSize ? { maxPageSize } : {})) {
    sizes.push(page.length);
    all.push(...page.map(pick));
  }
  return { sizes, all: all.sort() };
}

export const nameOf = (properties) => properties.name;
export const versionOf = (properties) => properties.version;

// eachAtOnce calls work for all items, a few at a time.
export async function eachAtOnce(items, work) {
  const waiting = [...items];
  const worker = async () => {
    while (waiting.length > 0) {
      await work(waiting.shift());
    }
  };
  await Promise.all(Array.from({ length: 6 }, worker));
}

// listSecrets fills the vault and reads it in pages of both sizes. It runs first, in an empty
// vault, so that the pages can be told exactly.
export async function listSecrets({ client }, found) {
  const before = await collect(client.listPropertiesOfSecrets(), nameOf);
  found.equal("names in an empty vault", before.all, []);
  await eachAtOnce(pagedNames, (name) => client.setSecret(name, `value of ${name}`));
  for (const { size, sizes } of [
    { size: undefined, sizes: [defaultPage, defaultPage, 10] },
    { size: smallPage, sizes: Array(6).fill(smallPage) },
  ]) {
    const got = await collect(client.listPropertiesOfSecrets(), nameOf, size);
    found.equal(`pages with maxresults ${size}`, got.sizes, sizes);
    found.equal("names listed", got.all, pagedNames);
  }
  let n = 0; // without pages, as most programs read
  for await (const properties of client.listPropertiesOfSecrets()) {
    n += properties.enabled ? 1 : 0;
  }
  found.equal("enabled secrets, read one by one", n, paged);
}

// listDeleted deletes the secrets of listSecrets, reads the list of deleted ones in pages, and
// purges them.
export async function listDeleted({ client }, found) {
  await eachAtOnce(pagedNames, (name) => client.beginDeleteSecret(name));
  const got = await collect(client.listDeletedSecrets(), nameOf, smallPage);
  found.equal("pages of deleted secrets", got.sizes, Array(6).fill(smallPage));
  found.equal("deleted names listed", got.all, pagedNames);
  await eachAtOnce(pagedNames, (name) => client.purgeDeletedSecret(name));
  const left = await collect(client.listDeletedSecrets(), nameOf);
  found.equal("deleted names after the purge", left.all, []);
}

// listVersions reads the versions of one secret in two pages, and of a name nobody has used.
export async function listVersions({ client }, found) {
  const n = 27;
  const want = [];
  for (let i = 0; i < n; i++) {
    want.push((await client.setSecret("list-versions", String(i))).properties.version);
  }
  const got = await collect(client.listPropertiesOfSecretVersions("list-versions"), versionOf);
  found.equal("pages of versions", got.sizes, [defaultPage, n - defaultPage]);
  found.equal("versions listed", got.all, want.sort());
  const none = await collect(client.listPropertiesOfSecretVersions("never-set"), versionOf);
  found.equal("versions of an unknown name", none.all, []);
}
