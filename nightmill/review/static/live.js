// Keeps what runs up to date: asks for the parts of this page that are marked as live, and puts the
// answer in their place, until the answer says that nothing runs any more. Without it the page is
// whole, too; it only stands still.
"use strict";

const live = document.querySelector("[data-live]");
const pause = 2000;

async function refresh() {
  if (document.hidden) return true;
  const answer = await fetch(live.dataset.live, { headers: { accept: "text/html" } });
  if (!answer.ok) return true;
  const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
  const found = fresh.querySelector("[data-live-part]");
  if (!found) return true;
  live.replaceChildren(...found.childNodes);
  const frame = document.querySelector("iframe[data-stamp]");
  const stamp = found.dataset.stamp;
  if (frame && stamp && frame.dataset.stamp !== stamp) {
    frame.dataset.stamp = stamp;
    frame.src = found.dataset.notebook;
  }
  if (found.dataset.ended !== undefined) {
    location.reload();
    return false;
  }
  return true;
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
