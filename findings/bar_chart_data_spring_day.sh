#!/usr/bin/env bash
# What: the Node-RED node of the npm package node-red-contrib-dashboard-bar-chart-data 0.9.94, 24 bars of an hour, in
#   Brussels on 29 March 2026, when two o'clock is left out. At 10:30 the bars are 03, 17 times over, and 04 to 10: the
#   hours before are deleted, and msg.data_sum counts what was used at three o'clock 17 times (0.5 kWh an hour, 2 kWh
#   at three: 37.5 kWh for the 13.5 kWh of these 24 hours). Bars of a quarter go round the four of that hour.
# Why it matters: the chart and the sum of "the last 24 hours" are wrong for a day; what was stored of the evening
#   before is gone. The autumn day is right but for its repeated hour.
# Source: seen here; it steps back with setHours(getHours() - 1), and JavaScript makes 03 of a 02 that does not exist.
#   The script gives the node the few functions of Node-RED that it uses.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
npm install --prefix "$work" --silent --no-audit --no-fund --ignore-scripts \
    node-red-contrib-dashboard-bar-chart-data@0.9.94
cat >"$work/run.mjs" <<'JS'
import { createRequire } from "node:module";
const require = createRequire(import.meta.url);
const name = "node-red-contrib-dashboard-bar-chart-data";

function barChart(settings) {
  const store = new Map();
  let receive, sent;
  const node = {
    on: (event, handler) => (receive = handler.bind(node)),
    context: () => ({ get: (key) => store.get(key), set: (key, value) => store.set(key, value) }),
    send: (message) => (sent = message),
    warn: () => {},
  };
  const nodes = { createNode: () => {}, registerType: (type, constructor) => constructor.call(node, settings) };
  require(`${name}/bar-chart-data.js`)({ nodes });
  return (payload, ts) => (receive({ topic: "kWh", payload, ts }), sent);
}

const start = Date.parse("2026-03-28T10:30:00+01:00");
const use = barChart({ x_interval: "hours", x_size: 24, agg_by: "sum" });
let day, right = 0;
for (let hour = 0; hour < 24; hour++) {
  const ts = start + hour * 3600e3;
  const kwh = ts === Date.parse("2026-03-29T03:30:00+02:00") ? 2 : 0.5;
  day = use(kwh, ts);
  right += kwh;
}
const bars = day.payload[0];
console.log(name, require(`${name}/package.json`).version);
console.log(bars.labels.join(" "));
console.log("put in", right, "kWh, data_sum", day.data_sum);
console.log(bars.data[0].join(" "));
const quarters = barChart({ x_interval: "quarter_hours", x_size: 12, agg_by: "sum" });
const late = quarters(1, Date.parse("2026-03-29T03:30:00+02:00")).payload[0].labels;
console.log("quarters:", late.join(" "));
const wanted = `${"03 ".repeat(17)}04 05 06 07 08 09 10`;
const round = "04:00 03:15 03:30 03:45";
const seen =
  bars.labels.join(" ") === wanted && day.data_sum === 37.5 && late.join(" ") === `${round} ${round} ${round}`;
console.log(seen ? "as seen" : "CHANGED");
process.exit(seen ? 0 : 1);
JS
TZ=Europe/Brussels node "$work/run.mjs"
