/* Numbers, sizes and values as short text. Text reaches the page by textContent and fillText only: it is never read as HTML. */

/* A number in so many significant digits; JSON has NaN, infinities and complex numbers as strings. */
function number(value, digits = 4) {
  if (value === null || value === undefined) return "?";
  if (typeof value === "boolean") return value ? "True" : "False";
  if (typeof value === "string") return value.replace("Infinity", "inf").replace("NaN", "nan").replace("-", "−");
  if (value === 0) return "0";
  if (Number.isInteger(value) && Math.abs(value) < 1e7) return String(value).replace("-", "−");
  const exponent = Math.floor(Math.log10(Math.abs(Number(value.toPrecision(digits)))));
  const small = exponent < -4 || exponent >= Math.max(digits, 5);
  let text = small ? value.toExponential(digits - 1) : value.toPrecision(digits);
  if (text.includes(".")) text = text.replace(/\.?0+(e|$)/, "$1");
  return text.replace(/-/g, "−").replace("e+", "e");
}

/* A number, or nested lists of them, as lines: one for each innermost list. */
function rows(value) {
  if (!Array.isArray(value)) return [number(value)];
  if (!value.length || !Array.isArray(value[0])) return ["[" + value.map((one) => number(one)).join(", ") + "]"];
  return value.flatMap(rows);
}

function crop(text, length) {
  return text.length <= length ? text : text.slice(0, length - 1) + "…";
}

function byteCount(count) {
  for (const unit of ["B", "kB", "MB"]) {
    if (count < 1024) return `${number(count, 3)} ${unit}`;
    count /= 1024;
  }
  return `${number(count, 3)} GB`;
}

function seconds(time) {
  for (const [factor, unit] of [[1, "s"], [1e3, "ms"]]) if (time * factor >= 1) return `${number(time * factor, 3)} ${unit}`;
  return `${number(time * 1e6, 3)} µs`;
}

function plural(count, what) {
  return `${count.toLocaleString("en")} ${what}${count === 1 ? "" : "s"}`;
}

function shapeText(shape) {
  return !shape || shape.length ? `(${(shape || []).join(", ")}${shape && shape.length === 1 ? "," : ""})` : "scalar";
}

/* Sums and products of numbers or nested lists, for what is written beside a step; null where one is not a plain number. */
function combine(a, b, what) {
  if (Array.isArray(a) && Array.isArray(b)) {
    if (a.length !== b.length) return null;
    const all = a.map((one, i) => combine(one, b[i], what));
    return all.includes(null) ? null : all;
  }
  return typeof a === "number" && typeof b === "number" ? what(a, b) : null;
}

const LABEL_LINES = 3, LABEL_LENGTH = 30; // what still goes beside a wire

/* What is written beside a wire for a value: its numbers where they are few, else what it is. */
function wireText(value, otherwise) {
  if (value === null || value === undefined) return otherwise ? [otherwise] : [];
  const lines = rows(value);
  if (lines.length > LABEL_LINES || lines.some((line) => line.length > LABEL_LENGTH)) return otherwise ? [otherwise] : [];
  return lines;
}
