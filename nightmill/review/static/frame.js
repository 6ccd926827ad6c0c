// Opens the notebook at its failing cell. A browser loses the place in a frame without an origin,
// now and then, while the notebook comes in; once it is there, going to the place again finds it.
"use strict";

const frame = document.querySelector("iframe[src*='#']");

addEventListener("load", () => {
  frame.contentWindow.location.replace(frame.src); // in place: "Back" leaves the page
});
