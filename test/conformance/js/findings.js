import { isDeepStrictEqual } from "node:util";

// Findings are what a case found wrong. The observer has the bodies of refusals, which not every
// release of the SDK hands out with its error.
export class Findings {
  problems = [];
  #seen;

  constructor(seen) {
    this.#seen = seen;
  }

  add(text) {
    this.problems.push(text);
  }

  equal(what, got, want) {
    if (!isDeepStrictEqual(got, want)) {
      this.add(`${what}: got ${shown(got)}, want ${shown(want)}`);
    }
  }

  holds(what, text, part) {
    if (!text.includes(part)) {
      this.add(`${what}: got ${shown(text)}, want a part ${shown(part)}`);
    }
  }

  // refused notes when the call is not refused in this way; it gives the message of the answer.
  async refused(what, call, want) {
    try {
      await call();
    } catch (err) {
      return this.#refusal(what, err, want);
    }
    this.add(`${what}: got no error, want a refusal with status ${want.status}`);
    return "";
  }

  #refusal(what, err, want) {
    if (err.name !== "RestError" || err.statusCode !== this.#seen.last.status) {
      this.add(`${what}: got ${err.name}: ${err.message}, want a refusal with status ${want.status}`);
      return "";
    }
    const { error } = JSON.parse(this.#seen.last.body);
    this.equal(what, { status: err.statusCode, code: err.code, inner: error.innererror?.code ?? "" }, want);
    return error.message;
  }
}

// What an error answer must say; an empty inner code means that there is none.
export const badParameter = { status: 400, code: "BadParameter", inner: "" };
export const notFound = { status: 404, code: "SecretNotFound", inner: "" };
export const disabled = { status: 403, code: "Forbidden", inner: "SecretDisabled" };
export const noRight = { status: 403, code: "Forbidden", inner: "ForbiddenByRbac" };
export const isDeleted = { status: 409, code: "Conflict", inner: "ObjectIsDeletedButRecoverable" };
export const conflict = { status: 409, code: "Conflict", inner: "" };

function shown(value) {
  const text = JSON.stringify(value) ?? String(value);
  return text.length > 200 ? text.slice(0, 200) + "…" : text;
}
