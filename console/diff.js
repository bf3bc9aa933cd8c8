// What differs between two texts, word by word: the greedy algorithm of E. W. Myers, "An O(ND)
// Difference Algorithm and Its Variations" (1986), with a bound.

/** Words inserted and removed up to which the difference is sought; it takes memory of its square. */
const BOUND = 500;
/** Below this part of common letters, marks inside the text say less than the whole text does. */
const ALIKE = 0.3;

/** Words, runs of white space, and single other characters. */
function words(text) {
  return text.match(/[\p{L}\p{M}\p{N}_]+|\s+|[^]/gu) ?? [];
}

/**
 * The way from one text to another: a list of [mark, text], where the mark is "same", "removed" or
 * "inserted". Too many differences to be of use are one removal and one insertion.
 */
export function difference(before, after) {
  if (before === after) return before === "" ? [] : [["same", before]];
  const [a, b] = [words(before), words(after)];
  let start = 0;
  while (start < a.length && start < b.length && a[start] === b[start]) start++;
  let [endA, endB] = [a.length, b.length];
  while (endA > start && endB > start && a[endA - 1] === b[endB - 1]) endA--, endB--;
  const middle = [a.slice(start, endA), b.slice(start, endB)];
  const parts = joined([
    ...a.slice(0, start).map((word) => ["same", word]),
    ...(shortest(...middle) ?? whole(...middle)),
    ...a.slice(endA).map((word) => ["same", word]),
  ]);
  const common = parts.reduce((sum, [mark, text]) => sum + (mark === "same" ? text.trim().length : 0), 0);
  const isAlike = common >= ALIKE * Math.max(before.length, after.length);
  return isAlike ? parts : whole([before], [after]);
}

function whole(a, b) {
  return [["removed", a.join("")], ["inserted", b.join("")]].filter(([, text]) => text !== "");
}

/** The shortest way, or null where it is longer than the bound. */
function shortest(a, b) {
  const [n, m] = [a.length, b.length];
  const most = Math.min(n + m, BOUND);
  let reach = new Int32Array(2 * most + 3);
  const middle = most + 1;
  const steps = [];
  for (let d = 0; d <= most; d++) {
    steps.push(reach.slice());
    for (let k = -d; k <= d; k += 2) {
      const down = k === -d || (k !== d && reach[middle + k - 1] < reach[middle + k + 1]);
      let x = down ? reach[middle + k + 1] : reach[middle + k - 1] + 1;
      let y = x - k;
      while (x < n && y < m && a[x] === b[y]) x++, y++;
      reach[middle + k] = x;
      if (x >= n && y >= m) return walked(a, b, steps, middle);
    }
  }
  return null;
}

/** Goes the way back from the end. */
function walked(a, b, steps, middle) {
  const way = [];
  let [x, y] = [a.length, b.length];
  for (let d = steps.length - 1; d >= 0; d--) {
    const reach = steps[d];
    const k = x - y;
    const down = k === -d || (k !== d && reach[middle + k - 1] < reach[middle + k + 1]);
    const from = down ? k + 1 : k - 1;
    const [fromX, fromY] = [reach[middle + from], reach[middle + from] - from];
    while (x > Math.max(fromX, 0) && y > Math.max(fromY, 0)) way.push(["same", a[--x]]), y--;
    if (d === 0) break;
    way.push(down ? ["inserted", b[--y]] : ["removed", a[--x]]);
  }
  return way.reverse();
}

/** Neighbours of one mark as one part. */
function joined(parts) {
  const all = [];
  for (const [mark, text] of parts) {
    if (all.length > 0 && all.at(-1)[0] === mark) all.at(-1)[1] += text;
    else all.push([mark, text]);
  }
  return all;
}
