// Loaded by "node --require" where names below .localhost are used, which browsers and curl find
// by themselves and Node does not: they are answered with 127.0.0.1. The SDK is not touched.
"use strict";
const dns = require("node:dns");

const lookup = dns.lookup;
dns.lookup = (hostname, options, callback) => {
  if (!hostname.endsWith(".localhost")) {
    return lookup(hostname, options, callback);
  }
  const done = typeof options === "function" ? options : callback;
  const all = typeof options === "object" && options.all;
  process.nextTick(() => (all ? done(null, [{ address: "127.0.0.1", family: 4 }]) : done(null, "127.0.0.1", 4)));
};
