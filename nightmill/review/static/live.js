// Keeps what runs up to date: asks for the part of this page that is marked as live, and puts the
// answer in its place. Where something has ended the page is loaded anew, unless its reader has
// begun to write or has opened something. Where there is no answer the page says so, and asks on,
// ever more seldom. Without this the page is whole, too; it only stands still.
//
// A notebook's frame has neither scripts nor an origin, so nobody can tell where its reader is: it
// is loaded again by itself until somebody has been in it, and from then on where they ask for it.
// Of a pointer in such a frame a page is told nothing, so a veil lies over it until one comes.
"use strict";

const live = document.querySelector("[data-live]");
const said = document.querySelector("[data-live-said]"); // read aloud, so only what is new is written
const away = document.querySelector("[data-live-away]");
const frame = document.querySelector("iframe[data-stamp]");
const more = document.querySelector("[data-live-more]");
const awaited = document.querySelector("[data-live-awaited]"); // a notebook that is not there yet
const pause = 2000;
const longest = 30000;
const patience = 10000; // for one answer
const lasting = 10000; // so long may an answer be lost before that is told
const settled = 8000; // a page that changes all the time is not to be loaded all the time
let freshAt = Date.now();
let failures = 0;
let isAsking = false;
let timer = 0;
let isReading = !awaited && matchMedia("(hover: none)").matches; // in the frame: by touch nobody can tell
let newest = null; // of the notebook, and not in the frame yet

class Refused extends Error {} // whoever asks is somebody else by now, or nobody

function isInUse() {
  if (isReading) return true;
  const fields = [...document.querySelectorAll("main textarea, main input")];
  return fields.some((field) => field.value !== field.defaultValue) || document.querySelector("main details[open]");
}

function say(text) {
  if (said && said.textContent !== text) said.textContent = text;
}

function show(found) {
  const focused = live.contains(document.activeElement) && document.activeElement.id;
  live.style.minHeight = `${live.getBoundingClientRect().height}px`; // what is below is being read: it does not jump up
  live.replaceChildren(...found.childNodes);
  if (focused) document.getElementById(focused)?.focus({ preventScroll: true });
  if (frame) offer(found.dataset);
}

// In place of what the frame shows: an entry of the history more would take a "Back" more to leave.
// The stamp makes it another document, or a browser would only go to another place in the old one.
function load(address) {
  const [plain, cell] = address.split("#"); // at the cell at work, where somebody asked for what is new
  const place = isReading && cell ? `#${cell}` : "";
  frame.contentWindow.location.replace(`${plain}?stamp=${encodeURIComponent(frame.dataset.stamp)}${place}`);
  more.hidden = true;
  newest = null;
}

function offer({ stamp, notebook, ended }) {
  if (ended !== undefined) newest = { hasEnded: true };
  else if (stamp && frame.dataset.stamp !== stamp) {
    frame.dataset.stamp = stamp;
    newest = { notebook };
  }
  if (newest?.notebook && !isReading) load(newest.notebook);
  if (newest && isReading) {
    more.textContent = newest.hasEnded ? "It has ended: show all of it" : "Show what is new";
    more.hidden = false;
  }
}

function showMore() {
  if (newest.hasEnded) return location.reload();
  load(newest.notebook);
  frame.focus({ preventScroll: true });
}

// What is shown may be false by now: say since when, once, where it is seen wherever one reads.
function tell(isRefused) {
  document.body.classList.add("not-fresh");
  for (const one of away.querySelectorAll("[data-why]")) one.hidden = (one.dataset.why === "refused") !== isRefused;
  if (away.hidden) document.querySelector("main").prepend(away);
  away.hidden = false;
  say(away.querySelector("[data-why]:not([hidden]) [data-told]").textContent);
}

function takeBack(found) {
  document.body.classList.remove("not-fresh");
  away.hidden = true;
  for (const one of away.querySelectorAll("[data-fresh]")) one.textContent = found.dataset.at;
  say(found.dataset.said);
}

async function ask() {
  const answer = await fetch(live.dataset.live, {
    headers: { accept: "text/html" },
    redirect: "manual", // to where one signs in: there is nothing for this page
    signal: AbortSignal.timeout(patience),
  });
  if (answer.type === "opaqueredirect" || answer.status === 401 || answer.status === 403) throw new Refused();
  const found = new DOMParser().parseFromString(await answer.text(), "text/html").querySelector("[data-live-part]");
  if (!answer.ok || !found) throw new Error("no answer");
  return found;
}

async function refresh() {
  try {
    const found = await ask();
    failures = 0;
    freshAt = Date.now();
    show(found);
    takeBack(found);
    const isOther = found.dataset.ended !== undefined || (awaited && found.dataset.stamp);
    if (!isOther || isInUse() || performance.now() < settled) return true;
  } catch (error) {
    failures += 1;
    const isRefused = error instanceof Refused;
    if (isRefused || failures > 1 || Date.now() - freshAt > lasting) tell(isRefused);
    return true;
  }
  location.reload();
  return false;
}

async function keep() {
  if (isAsking) return;
  clearTimeout(timer);
  isAsking = true;
  const isOver = !document.hidden && !(await refresh());
  isAsking = false;
  if (!isOver) timer = setTimeout(keep, Math.min(pause * 2 ** Math.max(failures - 2, 0), longest));
}

if (live) {
  timer = setTimeout(keep, pause);
  document.addEventListener("visibilitychange", () => document.hidden || keep()); // back from signing in
  addEventListener("online", keep);
  if (frame) {
    const veil = frame.parentElement.appendChild(document.createElement("div"));
    const begin = () => {
      isReading = true;
      veil.remove();
    };
    veil.className = "veil";
    for (const one of ["pointerenter", "wheel"]) veil.addEventListener(one, begin, { passive: true });
    if (isReading) begin();
    addEventListener("blur", () => document.activeElement === frame && begin());
    more.addEventListener("click", showMore);
  }
}
