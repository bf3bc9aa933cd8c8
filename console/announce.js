// Tells people who do not see the page what has just happened on it.

import { fill } from "./dom.js";

/** Says a sentence, politely: after what is being read. */
export function announce(sentence) {
  const region = document.getElementById("announcements");
  // The same sentence twice is a change, too.
  fill(region, region.textContent === sentence ? `${sentence}\u00a0` : sentence);
}

/** Shows, and says, whether the server can be reached; an empty sentence: it can. */
export function connection(sentence) {
  const region = document.getElementById("connection");
  if (region.textContent !== sentence) fill(region, sentence);
}
