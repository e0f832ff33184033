#!/usr/bin/env bash
# What: the npm package @zandor300/homewizard-energy-api 1.1.0 takes the clock of a P1 telegram for UTC and drops
#   its letter: 12:34:56 summer time (10:34:56 UTC) becomes 14:34:56+02:00, two hours late. In autumn the two half
#   past two, S and W, become the same instant.
# Why it matters: quarter-hours and days shift by one or two hours, by the season, with an offset in the text that
#   looks right.
# Source: seen here; its code sets the digits with setUTCHours and prints with formatISO of date-fns.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
npm install --prefix "$work" --silent --no-audit --no-fund --ignore-scripts @zandor300/homewizard-energy-api@1.1.0
cat >"$work/run.mjs" <<'JS'
process.env.TZ = "Europe/Brussels";
import { createServer } from "node:http";
import { createRequire } from "node:module";
const require = createRequire(import.meta.url);
const { P1MeterApi } = require("@zandor300/homewizard-energy-api");

function crc16(text) {
  let crc = 0;
  for (const byte of Buffer.from(text, "latin1")) {
    crc ^= byte;
    for (let bit = 0; bit < 8; bit++) crc = crc & 1 ? (crc >> 1) ^ 0xa001 : crc >> 1;
  }
  return crc.toString(16).toUpperCase().padStart(4, "0");
}
let stamp;
const server = createServer((request, response) => {
  const lines = ["/ISK5\\2M550T-1012", "", "1-3:0.2.8(50)", `0-0:1.0.0(${stamp})`, "1-0:1.8.1(000156.167*kWh)", "!"];
  const body = lines.join("\r\n");
  response.end(body + crc16(body) + "\r\n");
}).listen(0, "127.0.0.1", async () => {
  const meter = new P1MeterApi(`http://127.0.0.1:${server.address().port}`);
  console.log("@zandor300/homewizard-energy-api", require("@zandor300/homewizard-energy-api/package.json").version);
  const expected = {
    "260715123456S": "2026-07-15T14:34:56+02:00",
    "261025023000S": "2026-10-25T03:30:00+01:00",
    "261025023000W": "2026-10-25T03:30:00+01:00",
  };
  let seen = true;
  for (stamp of Object.keys(expected)) {
    const { timestamp } = await meter.getParsedTelegram();
    console.log(stamp, "->", timestamp);
    seen &&= timestamp === expected[stamp];
  }
  server.close();
  console.log(seen ? "as seen" : "CHANGED");
  process.exit(seen ? 0 : 1);
});
JS
node "$work/run.mjs"
