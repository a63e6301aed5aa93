// Numbers as Grafana tells them, of the units that the dashboard has.
"use strict";

/** Three digits that say something, as Grafana's getDecimalsForValue has it. */
function digits(value) {
  return Number.isInteger(value) ? 0 : Math.min(6, Math.max(0, 2 - Math.floor(Math.log10(Math.abs(value)))));
}

/** The value in the largest of the scales that it reaches: [factor, suffix], the smallest first. */
function scaled(value, scales) {
  const [factor, suffix] = scales.findLast(([factor]) => Math.abs(value) >= factor) ?? scales[0];
  return [value / factor, suffix];
}

const thousands = (unit) => [[1, unit], [1e3, ` K${unit}`], [1e6, ` Mil${unit}`], [1e9, ` Bil${unit}`]];
const SECONDS = [[1e-6, " µs"], [1e-3, " ms"], [1, " s"], [60, " min"], [3600, " hour"], [86400, " day"], [604800, " week"]];
const BYTES = [[1, " B"], [2 ** 10, " KiB"], [2 ** 20, " MiB"], [2 ** 30, " GiB"]];

const UNITS = {
  short: (value) => scaled(value, thousands("")),
  percentunit: (value) => [value * 100, "%"],
  s: (value) => (value === 0 ? [0, " s"] : scaled(value, SECONDS)),
  bytes: (value) => scaled(value, BYTES),
  eps: (value) => scaled(value, thousands(" evt/s")),
  ops: (value) => scaled(value, thousands(" ops/s")),
  reqps: (value) => scaled(value, thousands(" req/s")),
};

/** The number and its unit. */
function parts(value, { unit = "short", decimals } = {}) {
  const of = UNITS[unit];
  if (!of) throw new Error(`units.js knows no unit ${unit}`);
  const [number, suffix] = of(value);
  return [number.toFixed(decimals ?? digits(number)), suffix];
}

const told = (value, defaults) => parts(value, defaults).join("");

const SHORT = [1, 2, 5].flatMap((n) => [n * 1e-3, n * 1e-2, n * 0.1]).sort((one, other) => one - other);
/** The steps of an axis whose units are not tens of each other. */
const STEPS = {
  s: [...SHORT, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 21600, 43200, 86400, 172800, 604800],
  bytes: Array.from({ length: 40 }, (_, power) => 2 ** power),
};

/** The ticks of one axis, with as many digits as tell them apart. */
function ticks(values, defaults) {
  if (STEPS[defaults.unit]) return values.map((value) => told(value, { ...defaults, decimals: places(UNITS[defaults.unit](value)[0]) }));
  const texts = (decimals) => values.map((value) => told(value, { ...defaults, decimals }));
  for (let decimals = defaults.decimals ?? 0; decimals < 6; decimals++) {
    const [all, apart] = [texts(decimals), new Set(texts(decimals)).size];
    const exact = values.every((value) => {
      const [number] = UNITS[defaults.unit ?? "short"](value);
      return Math.abs(number - Number(number.toFixed(decimals))) < 1e-9 * Math.max(1, Math.abs(number));
    });
    if (apart === values.length && (exact || decimals >= 3)) return all;
  }
  return texts(6);
}

/** As many decimals as a number has, up to three. */
const places = (number) => [0, 1, 2].find((decimals) => Math.abs(number - Number(number.toFixed(decimals))) < 1e-6) ?? 3;
