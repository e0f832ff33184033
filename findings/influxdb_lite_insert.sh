#!/usr/bin/env bash
# What: the command of the npm package influxdb-lite 1.1.0, insert --fields kw=1.5 --fields on=false --ts TIME, sends
#   p1,meter=house kw=1.5,on=true: the time is left out, and false becomes true. The command ends with 0.
# Why it matters: readings of the past that are put in by a script all land at the moment it runs, on top of each
#   other, and a switch that is off is on.
# Source: its README (--ts <timestamp>); the rest seen here: the option is read under another name, and the text
#   "false" is true to JavaScript's Boolean().
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
npm install --prefix "$work" --silent --no-audit --no-fund --ignore-scripts influxdb-lite@1.1.0
cat >"$work/run.mjs" <<'JS'
import { spawn } from "node:child_process";
import { createServer } from "node:http";
import { createRequire } from "node:module";
const require = createRequire(import.meta.url);
const command = require.resolve("influxdb-lite").replace("index.js", "cli.js");

let sent = "";
const server = createServer((request, response) => {
  request.on("data", (piece) => (sent += piece));
  request.on("end", () => response.writeHead(204).end());
}).listen(0, "127.0.0.1", () => {
  const fields = ["--fields", "kw=1.5", "--fields", "on=false", "--ts", "1780000000000000000"];
  const where = ["--url", `http://127.0.0.1:${server.address().port}`, "--db", "home"];
  const insert = [command, "insert", ...where, "--measurement", "p1", "--tags", "meter=house", ...fields];
  spawn(process.execPath, insert, { stdio: "inherit" }).on("close", (code) => {
    console.log("influxdb-lite", require("influxdb-lite/package.json").version);
    console.log("insert", fields.join(" "));
    console.log("sends", JSON.stringify(sent), "and ends with", code);
    server.close();
    const seen = sent === "p1,meter=house kw=1.5,on=true" && code === 0;
    console.log(seen ? "as seen" : "CHANGED");
    process.exit(seen ? 0 : 1);
  });
});
JS
node "$work/run.mjs"
