// Scores rows in a browser or in Node, with onnxruntime-web or onnxruntime-node: rows are read, refused
// and answered as by device.py beside it. What is written as 2.0 or as 2 is one number here.
//
//   import * as ort from "onnxruntime-web";
//   const scorer = await Scorer.load(ort, async name => new Uint8Array(...), publicKey);
//   const answer = await scorer.score([{ amount: 12.5 }]);    // or throws Refused

if (globalThis.process?.env) process.env.ORT_DISABLE_TELEMETRY ??= "1"; // nothing reports home

const FORMAT = 1;
const LARGEST = 3.4028234663852886e38; // of a 32-bit float
const DAY = 86_400_000; // ms
const MONTHS = "jan feb mar apr may jun jul aug sep oct nov dec".split(" ");
const UNSEEN = "unseen or rare in training";
const FAR = "far from all values of training";

/** A package that cannot be used: one line says which part, and why. */
export class Broken extends Error {}

/** Rows that got no answer; `problems` say which field of which row breaks which rule. */
export class Refused extends Error {
  constructor(problems) {
    const { row, field, problem } = problems[0];
    super(`row ${row}, ${field}: ${problem}`);
    this.problems = problems;
  }
}

// ---------------------------------------------------------------- packages

const hex = bytes => Array.from(bytes, byte => byte.toString(16).padStart(2, "0")).join("");
const unhex = text => Uint8Array.from(text.match(/[0-9a-f]{2}/g) ?? [], pair => parseInt(pair, 16));
const json = bytes => JSON.parse(new TextDecoder().decode(bytes));

async function isSigned(content, signature, publicKey) {
  const { subtle } = globalThis.crypto ?? {};
  if (!subtle) throw new Broken("signatures cannot be checked here: open the page over HTTPS");
  try {
    const key = await subtle.importKey("raw", unhex(publicKey), "Ed25519", false, ["verify"]);
    return await subtle.verify("Ed25519", key, signature, content);
  } catch {
    return false;
  }
}

async function sha256(content) {
  return hex(new Uint8Array(await crypto.subtle.digest("SHA-256", content)));
}

/** The place of a device between 0 and 1: the same on every system, for ever. */
export async function ring(deviceId, salt) {
  const digest = await sha256(new TextEncoder().encode(`${salt}/${deviceId}`));
  return Number(BigInt(`0x${digest.slice(0, 16)}`)) / 2 ** 64;
}

export class Scorer {
  /** Open a package; `read(name)` resolves to the bytes of one of its files. */
  static async load(ort, read, publicKey, options = {}) {
    const [content, proof] = await Promise.all(["manifest.json", "manifest.sig"].map(read));
    const signature = unhex(new TextDecoder().decode(proof).trim());
    if (!(await isSigned(content, signature, publicKey)))
      throw new Broken("manifest.json is not signed by the owner of the model");
    const manifest = json(content);
    if (manifest.format !== FORMAT)
      throw new Broken(`manifest.json has format ${manifest.format}, not ${FORMAT}`);
    const names = ["contract.json", "model.onnx", "golden.json"];
    const files = await Promise.all(names.map(read));
    for (const [place, name] of names.entries())
      if ((await sha256(files[place])) !== manifest.files[name])
        throw new Broken(`${name} is changed`);
    const scorer = new Scorer(ort, json(files[0]));
    try {
      scorer.session = await ort.InferenceSession.create(files[1], options);
    } catch (error) {
      throw new Broken(`model.onnx cannot be opened: ${String(error).split("\n")[0]}`);
    }
    await scorer.replay(json(files[2]));
    return scorer;
  }

  constructor(ort, contract) {
    const { reading } = contract;
    Object.assign(this, { ort, contract, reading, version: contract.version });
    this.known = new Set([...contract.columns.map(column => column.name), ...contract.ignored]);
    this.missing = new Set(reading.missing);
    this.patterns = new Map();
  }

  /** Score the golden rows; Broken when a number is further off than it may be. */
  async replay(golden) {
    const found = await this.predict(this.read(golden.rows));
    for (const [name, { values, tolerance }] of Object.entries(golden.answers)) {
      const [was, wanted, most] = [found[name], values, tolerance].map(each => each.flat());
      const apart = was.map((value, place) => Math.abs(value - wanted[place]));
      if (!apart.every((value, place) => value <= most[place]))
        throw new Broken(`golden rows differ in ${name} by up to ${Math.max(...apart)}`);
    }
  }

  /** Answer rows as the project's services do; Refused for bad rows. */
  async score(rows) {
    const read = this.read(rows);
    const encoded = read.map(row => this.encode(row));
    const outputs = await this.predict(read, encoded);
    const predictions = read.map((values, row) => {
      const told = {};
      for (const { name } of this.contract.outputs) told[name] = outputs[name][row];
      const warning = this.unseen(values, encoded[row]);
      if (warning) told.warning = warning;
      for (const { name, key, kind } of this.contract.columns)
        if (key && values[name] != null) told[name] = written(values[name], kind);
      return told;
    });
    return { model_version: this.version, ...this.contract.decision, predictions };
  }

  /** The values of rows by column; Refused with everything that is wrong. */
  read(rows) {
    const problems = [];
    const found = rows.map((row, number) => {
      const values = {};
      for (const [field, problem, hint] of this.problems(row, values))
        problems.push({ row: number, field, problem, hint });
      return values;
    });
    if (problems.length) throw new Refused(problems.slice(0, 100));
    return found;
  }

  *problems(row, values) {
    if (row === null || typeof row !== "object" || Array.isArray(row)) {
      yield [null, "type", "send one object per row"];
      return;
    }
    const { columns } = this.contract;
    for (const name of Object.keys(row).filter(each => !this.known.has(each)).sort()) {
      const short = [...name].slice(0, 100).join("");
      const near = closest(short, columns.map(column => column.name));
      yield [short, "unknown field", near ? `did you mean ${near}?` : "leave it out"];
    }
    for (const column of columns) {
      const value = (values[column.name] = this.value(row[column.name], column));
      const rule = this.broken(value, column);
      if (rule) yield [column.name, rule, `send ${column.expected}`];
    }
  }

  /** A value of JSON as its kind wants it, or as it is where it cannot be read so. */
  value(value, column) {
    const { kind } = column;
    if (value === undefined || value === null || this.missing.has(value)) return null;
    if (kind === "category" || kind === "text") {
      if (typeof value === "object" || (typeof value === "string" && !column.used)) return value;
      const text = textOf(value);
      if (kind !== "category") return text.trim() && text;
      const level = this.level(text);
      return this.missing.has(level) ? null : level;
    }
    if (typeof value === "string") value = this.fromText(value.trim(), column);
    return kind === "boolean" && (value === 0 || value === 1) ? value === 1 : value;
  }

  fromText(text, column) {
    const { kind } = column;
    if (!text) return null;
    if (kind === "date" || kind === "timestamp") return this.moment(text, column) ?? text;
    if (kind === "boolean" && Object.hasOwn(this.reading.boolean, text.toLowerCase()))
      return this.reading.boolean[text.toLowerCase()];
    if (column.decimal_comma && this.fits(this.reading.decimal_comma, text))
      text = text.replace(new RegExp(this.reading.thousands, "g"), "").replace(",", ".");
    if (column.thousands_comma && this.fits(this.reading.thousands_comma, text))
      text = text.replaceAll(",", "");
    if (!this.fits(this.reading.number, text, "i")) return text;
    return /inf/i.test(text) ? (text[0] === "-" ? -Infinity : Infinity) : Number(text);
  }

  /** Whether a pattern, as Python writes it, fits the whole text. */
  fits(pattern, text, flags = "") {
    if (!this.patterns.has(pattern)) {
      const all = pattern.includes("(?i:") ? "i" : flags;
      this.patterns.set(pattern, new RegExp(`^(?:${pattern.replaceAll("(?i:", "(?:")})$`, all));
    }
    return this.patterns.get(pattern).test(text);
  }

  /** Read ISO 8601 or a format of the contract, in UTC. */
  moment(text, column) {
    for (const { pattern, format } of column.forms) {
      if (!this.fits(pattern, text)) continue;
      const found = format ? byFormat(text, format) : iso(text);
      if (!found || found.year < 1000) continue;
      return column.kind === "date" ? momentOf(found.day, 0) : found;
    }
    return null;
  }

  level(text) {
    const { spaces } = this.reading; // of Python, which trim() knows others than
    let [first, end] = [0, text.length];
    while (first < end && spaces.includes(text[first])) first += 1;
    while (first < end && spaces.includes(text[end - 1])) end -= 1;
    text = text.slice(first, end);
    if (!text.endsWith("0")) return text;
    const match = new RegExp(this.reading.level).exec(text);
    return match ? match.slice(1).map(part => part ?? "").join("") : text;
  }

  /** The first rule that a value breaks, "" where it breaks none. */
  broken(value, column) {
    const { kind, minimum, maximum, longest, levels } = column;
    if (value === null || value === "") return column.required ? "required" : "";
    if (!TYPES[kind](value)) return "type";
    if (kind === "number" && !(Math.abs(value) <= LARGEST)) return "infinite";
    const length = typeof value === "string" ? [...value].length : 0;
    if (kind === "text") {
      if (value.includes("\0")) return "NUL";
      return maximum !== null && length > maximum ? "length" : "";
    }
    if (minimum !== null && value < minimum) return "minimum";
    if (maximum !== null && value > maximum) return "maximum";
    if (longest !== null && length > longest) return "length";
    return levels.length && !levels.includes(this.level(value)) ? "levels" : "";
  }

  /** What the graph takes of a row of `read`. */
  encode(row) {
    const numbers = this.contract.numeric.map(feature => numberOf(row, feature));
    const codes = this.contract.categorical.map(({ column, codes, other }) => {
      const level = row[column] ?? "";
      return Object.hasOwn(codes, level) ? codes[level] : other;
    });
    return [...numbers, ...codes];
  }

  /** The outputs of the graph by name, one value or list of numbers for each row. */
  async predict(rows, encoded = rows.map(row => this.encode(row))) {
    const answers = {};
    const { outputs } = this.contract;
    for (const { name } of outputs) answers[name] = [];
    if (!rows.length) return answers;
    const shape = [rows.length, encoded[0].length];
    const x = new this.ort.Tensor("float32", Float32Array.from(encoded.flat()), shape);
    const found = await this.session.run({ x }, outputs.map(({ name }) => name));
    for (const { name, kind } of outputs) {
      const { data, dims } = found[name];
      for (let row = 0; row < rows.length; row++) {
        const part = Array.from(data.slice(row * dims[1], (row + 1) * dims[1]));
        answers[name].push(ANSWERS[kind](part));
      }
    }
    return answers;
  }

  unseen(values, encoded) {
    const first = this.contract.numeric.length;
    for (const [place, { column, other }] of this.contract.categorical.entries())
      if (encoded[first + place] === other && values[column] && !this.missing.has(values[column]))
        return `${column}: ${UNSEEN}`;
    for (const [place, column, low, high] of this.contract.far)
      if (encoded[place] < low || encoded[place] > high) return `${column}: ${FAR}`;
    return "";
  }
}

const isText = value => typeof value === "string";
const isMoment = value => typeof value === "object" && "day" in value;
const TYPES = {
  number: value => typeof value === "number",
  integer: value => Number.isInteger(value) && -(2 ** 63) <= value && value < 2 ** 63,
  boolean: value => typeof value === "boolean",
  category: isText,
  text: isText,
  date: isMoment,
  timestamp: isMoment,
};
const ANSWERS = {
  number: part => part[0],
  integer: part => Number(part[0]),
  boolean: part => Boolean(Number(part[0])),
  text: part => part.filter(Boolean).join(", "),
  numbers: part => part,
  list: part => part,
  items: part => part.map(Number),
};

/** A number as CSV holds it: in Python's notation. */
function textOf(value) {
  if (typeof value !== "number" || value === 0 || Math.abs(value) >= 1e-4) return String(value);
  return value.toExponential().replace(/e-(\d)$/, "e-0$1");
}

// ---------------------------------------------------------------- times

/** A time: days since 1970 in UTC and microseconds of the day. */
function momentOf(day, micros) {
  const date = new Date(day * DAY);
  return {
    day,
    micros,
    year: date.getUTCFullYear(),
    month: date.getUTCMonth() + 1,
    date: date.getUTCDate(),
    weekday: date.getUTCDay() || 7,
    hour: Math.floor(micros / 3_600_000_000),
    minute: Math.floor(micros / 60_000_000) % 60,
  };
}

/** The time of these parts, null where the calendar has none; `offset` in minutes. */
function calendar(year, month, date, hour = 0, minute = 0, second = 0, micros = 0, offset = 0) {
  const start = new Date(0);
  start.setUTCFullYear(year, month - 1, date);
  if (year < 1 || start.getUTCMonth() !== month - 1 || start.getUTCDate() !== date) return null;
  if (hour > 23 || minute > 59 || second > 59) return null;
  let day = start.getTime() / DAY;
  let left = (((hour * 60 + minute - offset) * 60 + second) * 1e6) + micros;
  const over = Math.floor(left / (DAY * 1000));
  [day, left] = [day + over, left - over * DAY * 1000];
  const found = momentOf(day, left);
  return found.year >= 1 && found.year <= 9999 ? found : null;
}

function iso(text) {
  const form = /^(\d{4})-(\d\d)-(\d\d)(?:[Tt ](\d\d):(\d\d)(?::(\d\d)(?:\.(\d+))?)?(?:([Zz])|([+-])(\d\d):?(\d\d))?)?$/;
  const [, year, month, date, hour, minute, second, digits, , sign, hours, minutes] = form.exec(text);
  const offset = sign ? (sign === "-" ? -1 : 1) * (Number(hours) * 60 + Number(minutes)) : 0;
  const micros = Number((digits ?? "").padEnd(6, "0").slice(0, 6));
  const parts = [year, month, date, hour ?? 0, minute ?? 0, second ?? 0].map(Number);
  return calendar(...parts, micros, offset);
}

const READ = { "%Y": "\\d{4}", "%y": "\\d{2}", "%.f": "(?:\\.\\d{1,9})?", "%p": "[AaPp][Mm]" };
for (const mark of ["%m", "%d", "%H", "%I", "%M", "%S"]) READ[mark] = "\\d{1,2}";
READ["%b"] = READ["%B"] = "[a-z]+";

function byFormat(text, format) {
  const marks = format.match(/%\.f|%[A-Za-z]/g) ?? [];
  const literal = part => part.replace(/[.*+?^${}()|[\]\\]/g, "\\$&");
  const parts = format.split(/(%\.f|%[A-Za-z])/).map((part, n) => (n % 2 ? `(${READ[part]})` : literal(part)));
  const match = new RegExp(`^${parts.join("")}$`, "i").exec(text);
  if (!match) return null;
  const found = Object.fromEntries(marks.map((mark, place) => [mark, match[place + 1]]));
  const number = mark => (found[mark] === undefined ? undefined : Number(found[mark]));
  const name = (found["%b"] ?? found["%B"])?.slice(0, 3).toLowerCase();
  const short = number("%y");
  const year = number("%Y") ?? (short === undefined ? 1900 : short + (short > 68 ? 1900 : 2000));
  let hour = number("%H") ?? 0;
  if (found["%I"] !== undefined) {
    hour = number("%I");
    if (hour < 1 || hour > 12) return null;
    hour = (hour % 12) + (found["%p"]?.toLowerCase() === "pm" ? 12 : 0);
  }
  const month = name ? MONTHS.indexOf(name) + 1 : number("%m") ?? 1;
  const micros = Number((found["%.f"] ?? "").slice(1).padEnd(6, "0").slice(0, 6));
  return calendar(year, month, number("%d") ?? 1, hour, number("%M") ?? 0, number("%S") ?? 0, micros);
}

/** The number that a feature makes of a row: NaN where a value is missing. */
function numberOf(row, { column, part, until, reference }) {
  const value = row[column];
  const end = reference ? iso(reference) : until ? row[until] : null;
  if (value === null || (until && end === null)) return NaN;
  if (end) return end.day - value.day + (end.micros - value.micros) / (DAY * 1000);
  if (typeof value !== "object") return Number(value);
  return part === "day" ? value.date : value[part];
}

function written(value, kind) {
  if (typeof value !== "object") return value;
  const two = number => String(number).padStart(2, "0");
  const day = `${String(value.year).padStart(4, "0")}-${two(value.month)}-${two(value.date)}`;
  if (kind === "date") return day;
  const second = Math.floor(value.micros / 1e6) % 60;
  const digits = value.micros % 1e6 ? `.${String(value.micros % 1e6).padStart(6, "0")}` : "";
  return `${day}T${two(value.hour)}:${two(value.minute)}:${two(second)}${digits}`;
}

// ---------------------------------------------------------------- names

/** The name that is most like `word`, null where none is: Ratcliff and Obershelp, from 0.6 on. */
function closest(word, names) {
  const rated = names.map(name => [(2 * alike(name, word)) / (name.length + word.length), name]);
  rated.sort(([a, x], [b, y]) => b - a || (x < y ? 1 : -1));
  return rated.length && rated[0][0] >= 0.6 ? rated[0][1] : null;
}

/** How many characters the longest common parts have, from the longest outwards. */
function alike(a, b) {
  let [most, from, to] = [0, 0, 0];
  for (let i = 0; i < a.length; i++)
    for (let j = 0; j < b.length; j++) {
      let size = 0;
      while (i + size < a.length && a[i + size] === b[j + size] && j + size < b.length) size++;
      if (size > most) [most, from, to] = [size, i, j];
    }
  if (!most) return 0;
  return most + alike(a.slice(0, from), b.slice(0, to)) + alike(a.slice(from + most), b.slice(to + most));
}
