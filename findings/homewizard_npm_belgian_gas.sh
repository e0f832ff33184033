#!/usr/bin/env bash
# What: the telegram parser of the npm package @zandor300/homewizard-energy-api 1.1.0 reads the gas reading of a
#   Belgian (Fluvius) telegram, 0-1:24.2.3, out of the time stamp: 00112.384 m3 read at 12:05:00 becomes 500. With a
#   water meter on the next M-Bus channel the gas becomes the water meter's reading, under the gas meter's
#   identifier.
# Why it matters: the number looks like a meter reading, moves every five minutes, and no error is raised. Gas
#   history of a Belgian house made with this package is of no use.
# Source: seen here; its code calls substring(15, 9), where JavaScript swaps the two, meant as offset and length.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
npm install --prefix "$work" --silent --no-audit --no-fund --ignore-scripts @zandor300/homewizard-energy-api@1.1.0
cat >"$work/run.mjs" <<'JS'
import { createServer } from "node:http";
import { createRequire } from "node:module";
const require = createRequire(import.meta.url);
const { P1MeterApi } = require("@zandor300/homewizard-energy-api");
console.error = () => {}; // it prints each line it does not know

function crc16(text) {
  let crc = 0;
  for (const byte of Buffer.from(text, "latin1")) {
    crc ^= byte;
    for (let bit = 0; bit < 8; bit++) crc = crc & 1 ? (crc >> 1) ^ 0xa001 : crc >> 1;
  }
  return crc.toString(16).toUpperCase().padStart(4, "0");
}
const electricity = ["/FLU5\\253769484_A", "", "0-0:96.1.4(50217)", "0-0:96.1.1(3153414733313031303231363035)",
  "0-0:1.0.0(260715123456S)", "1-0:1.8.1(000123.456*kWh)", "1-0:1.8.2(000234.567*kWh)"];
const gas = ["0-1:24.1.0(003)", "0-1:96.1.1(37464C4F32313139303333373333)", "0-1:24.4.0(1)",
  "0-1:24.2.3(260715120500S)(00112.384*m3)"];
const water = ["0-2:24.1.0(007)", "0-2:96.1.1(3853414731323334353637383930)",
  "0-2:24.2.1(260715120112S)(00872.234*m3)"];

let lines;
const server = createServer((request, response) => {
  const body = lines.join("\r\n") + "\r\n!";
  response.end(body + crc16(body) + "\r\n");
}).listen(0, "127.0.0.1", async () => {
  const meter = new P1MeterApi(`http://127.0.0.1:${server.address().port}`);
  console.log("@zandor300/homewizard-energy-api", require("@zandor300/homewizard-energy-api/package.json").version);
  lines = [...electricity, ...gas];
  const alone = (await meter.getParsedTelegram()).gas;
  console.log("gas 112.384 m3 at 12:05:00 is read as", alone.value, "- with unit", JSON.stringify(alone.unit));
  lines = [...electricity, ...gas, ...water];
  const both = (await meter.getParsedTelegram()).gas;
  console.log("with a water meter of 872.234 m3:", both.value, both.unit, "of", both.equipmentId);
  server.close();
  const seen = alone.value === 500 && both.value === 872.234 && both.equipmentId.startsWith("37464C4F");
  console.log(seen ? "as seen" : "CHANGED");
  process.exit(seen ? 0 : 1);
});
JS
node "$work/run.mjs"
