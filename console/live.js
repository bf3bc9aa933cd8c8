// Notices what happens elsewhere. The server is asked for a mark every few seconds while the page
// is looked at; whoever watches is told when the mark is another one.

/** Milliseconds between two looks, and at most after failures. */
const EVERY = 3_000;
const AT_MOST = 30_000;

/**
 * Watches something: `mark` asks for a text that changes with it, `known` gives that of what is
 * shown; `changed` is called when they differ, `failed` when it could not be asked (with the
 * failure) and when it can be again (with null). Gives `stop`, which ends the watch.
 */
export function watch({ mark, known, changed, failed }) {
  let wait = EVERY;
  let timer = null;
  let over = false;
  let looking = false;

  async function look() {
    clearTimeout(timer);
    if (over || looking || document.hidden) return;
    looking = true;
    try {
      const before = known();
      const now = await mark();
      if (over) return;
      if (wait !== EVERY) failed(null);
      wait = EVERY;
      // What was loaded meanwhile may be newer than this answer.
      if (known() === before && now !== before) await changed();
    } catch (failure) {
      wait = Math.min(wait * 2, AT_MOST);
      if (!over) failed(failure);
    } finally {
      looking = false;
      clearTimeout(timer);
      if (!over) timer = setTimeout(look, wait);
    }
  }

  const events = [[document, "visibilitychange"], [window, "online"], [window, "offline"]];
  events.forEach(([target, event]) => target.addEventListener(event, look));
  timer = setTimeout(look, wait);
  return {
    stop() {
      over = true;
      clearTimeout(timer);
      events.forEach(([target, event]) => target.removeEventListener(event, look));
    },
  };
}
