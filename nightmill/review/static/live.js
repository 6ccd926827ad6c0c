// Keeps what runs up to date: asks for the part of this page that is marked as live, and puts the
// answer in its place. Where something has ended the page is loaded anew, unless its reader has
// begun to write or has opened something. Without this the page is whole, too; it only stands still.
"use strict";

const live = document.querySelector("[data-live]");
const pause = 2000;
const settled = 8000; // a page that changes all the time is not to be loaded all the time

function isInUse() {
  const fields = [...document.querySelectorAll("main textarea, main input")];
  return fields.some((field) => field.value !== field.defaultValue) || document.querySelector("main details[open]");
}

function show(found) {
  const focused = live.contains(document.activeElement) && document.activeElement.id;
  live.replaceChildren(...found.childNodes);
  if (focused) document.getElementById(focused)?.focus({ preventScroll: true });
  // Read aloud, so only what is new is written.
  const said = document.querySelector("[data-live-said]");
  if (said && said.textContent !== found.dataset.said) said.textContent = found.dataset.said;
  const frame = document.querySelector("iframe[data-stamp]");
  const stamp = found.dataset.stamp;
  if (frame && stamp && frame.dataset.stamp !== stamp) {
    frame.dataset.stamp = stamp;
    frame.src = found.dataset.notebook;
  }
}

async function refresh() {
  if (document.hidden) return true;
  const answer = await fetch(live.dataset.live, { headers: { accept: "text/html" } });
  if (!answer.ok) return true;
  const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
  const found = fresh.querySelector("[data-live-part]");
  if (!found) return true;
  show(found);
  if (found.dataset.ended === undefined || isInUse() || performance.now() < settled) return true;
  location.reload();
  return false;
}

async function keep() {
  let more = true;
  try {
    more = await refresh();
  } catch {
    // The server is away for a moment: ask again.
  }
  if (more) setTimeout(keep, pause);
}

if (live) setTimeout(keep, pause);
