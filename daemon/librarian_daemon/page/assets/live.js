"use strict";
// Each message is the whole changing part of the page, rendered by the daemon. It is parsed into a document of its own,
// in which nothing runs, and its nodes take the place of the old ones.
const live = document.getElementById("live");
const following = document.getElementById("following");
const stream = new EventSource(live.dataset.stream);
stream.onmessage = (event) => {
  const told = new DOMParser().parseFromString(event.data, "text/html");
  live.replaceChildren(...told.body.childNodes);
};
stream.onopen = () => {
  following.textContent = "Live: changes show by themselves.";
};
stream.onerror = () => {
  following.textContent = "The daemon does not answer just now; what is shown may be old.";
};
