// A failure in words: what is wrong, and what to do.

import { t } from "./text.js";

const KNOWN = ["OFFLINE", "UNAVAILABLE", "FORBIDDEN", "NOT_FOUND", "INTERNAL"];
/** Seconds to wait where the server does not say. */
const WAIT = 10;

export function explain(failure) {
  if (failure.code === "RATE_LIMITED") {
    return t("error.RATE_LIMITED", { n: failure.retryAfter ?? WAIT });
  }
  if (KNOWN.includes(failure.code)) return t(`error.${failure.code}`);
  // What went wrong on this page itself is for whoever mends it.
  if (failure.code === undefined) console.error(failure);
  return t("error.other", { message: failure.message });
}
