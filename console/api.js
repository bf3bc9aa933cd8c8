// Asks the server.

import { forget, token } from "./account.js";

/** For how long an answer is waited for, in milliseconds: longer than the server tries. */
const PATIENCE = 40_000;

/**
 * Why there is no answer. `code` is the server's, or OFFLINE where none was reached; `extensions`
 * are the error's, `retryAfter` seconds to wait.
 */
export class Failure extends Error {
  constructor(code, message, extensions = {}, retryAfter = null) {
    super(message);
    this.code = code;
    this.extensions = extensions;
    this.retryAfter = retryAfter;
  }
}

/** Sends one GraphQL request and gives its data, or throws a `Failure`. */
export async function ask(query, variables = {}) {
  const headers = { "Content-Type": "application/json", Accept: "application/json" };
  const sent = token();
  if (sent) headers.Authorization = `Bearer ${sent}`;
  let response, answer;
  try {
    response = await fetch("/graphql", {
      method: "POST",
      headers,
      body: JSON.stringify({ query, variables }),
      signal: AbortSignal.timeout(PATIENCE),
      credentials: "omit",
      cache: "no-store",
    });
    answer = await response.text();
  } catch (error) {
    throw new Failure("OFFLINE", String(error));
  }
  const seconds = Number(response.headers.get("Retry-After")) || null;
  try {
    answer = JSON.parse(answer);
  } catch {
    const code = response.status === 429 ? "RATE_LIMITED" : "UNAVAILABLE";
    throw new Failure(code, `status ${response.status}`, {}, seconds);
  }
  const [error] = answer.errors ?? [];
  if (!error) return answer.data;
  const extensions = error.extensions ?? {};
  const code = extensions.code ?? "INTERNAL";
  // Somebody who has logged in again meanwhile keeps the new token.
  if (code === "UNAUTHENTICATED" && sent && sent === token()) forget();
  throw new Failure(code, error.message, extensions, extensions.retryAfter ?? seconds);
}
