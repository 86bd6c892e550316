// Time a package of `ml edge package` in JavaScript: `node edge.mjs PACKAGE PUBLIC_KEY FOLDER NAME`, where FOLDER/node_modules has
// NAME: onnxruntime-web or onnxruntime-node. Rows are the golden ones, from values of JSON to the answer.
import fs from "node:fs";
import { createRequire } from "node:module";
import path from "node:path";
import { pathToFileURL } from "node:url";

const [folder, publicKey, modules, name] = process.argv.slice(2);
const resolve = createRequire(path.resolve(modules, "x.js")).resolve;
const ort = await import(pathToFileURL(resolve(name)));
const { Scorer } = await import(pathToFileURL(path.resolve(folder, "scorer.mjs")));
const read = async file => new Uint8Array(fs.readFileSync(path.join(folder, file)));
const start = performance.now();
const options = { intraOpNumThreads: 1, interOpNumThreads: 1 };
const scorer = await Scorer.load(ort.default ?? ort, read, publicKey, options);
const opened = performance.now() - start;
const { rows, answers } = JSON.parse(fs.readFileSync(path.join(folder, "golden.json")));
const taken = [];
for (let n = 0; n < 3000; n++) {
  const begun = performance.now();
  await scorer.score([rows[n % rows.length]]);
  taken.push(performance.now() - begun);
}
const sorted = taken.slice(500).sort((a, b) => a - b);
const at = share => Number(sorted[Math.floor(share * sorted.length)].toFixed(3));
const { predictions } = await scorer.score(rows);
let worst = 0;
for (const [output, { values }] of Object.entries(answers))
  for (const [row, prediction] of predictions.entries())
    for (const [place, value] of [prediction[output]].flat().entries())
      worst = Math.max(worst, Math.abs(value - [values[row]].flat()[place]));
const rss = Math.round(process.memoryUsage().rss / 1e6);
console.log(JSON.stringify({ name, opened: Math.round(opened), p50: at(0.5), p95: at(0.95), worst, rss }));
