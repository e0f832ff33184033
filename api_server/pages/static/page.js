// Renews the living parts of a page: fetches each again after its seconds, unless that is still
// under way or nobody is looking, and says since when a page is old.
"use strict";

const old = document.getElementById("old");
const failed = new Set();
let lastGood = new Date();

async function renew(part) {
  if (part.busy || document.hidden) return;
  part.busy = true;
  try {
    const answer = await fetch(part.dataset.from, { signal: AbortSignal.timeout(15000) });
    if (answer.status === 401) return location.reload();
    if (!answer.ok) throw new Error(answer.status);
    const text = await answer.text();
    if (text !== part.text) part.innerHTML = part.text = text;
    part.renewed = Date.now();
    failed.delete(part);
    lastGood = new Date();
  } catch {
    failed.add(part);
  } finally {
    part.busy = false;
  }
  old.hidden = failed.size === 0;
  const time = lastGood.toLocaleTimeString(document.documentElement.lang, { hour12: false });
  const text = old.dataset.text.replace("{}", time);
  if (!old.hidden && old.textContent !== text) old.textContent = text;
}

for (const part of document.querySelectorAll("[data-from]")) {
  part.renewed = Date.now();
  setInterval(() => renew(part), part.dataset.every * 1000);
  document.addEventListener("visibilitychange", () => {
    if (!document.hidden && Date.now() - part.renewed > part.dataset.every * 1000) renew(part);
  });
}
