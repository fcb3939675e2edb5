// Holds a build of this folder against all of `vectors/` and `fuzz/corpus/`: node run.mjs MODULE
import { readdirSync, readFileSync } from 'node:fs';

const root = new URL('..', import.meta.url);
const module = new WebAssembly.Module(readFileSync(process.argv[2]));

const wanted = WebAssembly.Module.imports(module).map((entry) => `${entry.module}.${entry.name}`);
if (wanted.length > 0) {
  throw new Error(`the module wants from its host: ${wanted.join(', ')}`);
}

// The packager starts threads, and is no part of a client; nor is the server.
const NOT_HERE = ['media_lead', 'media_packager', 'media_stream', 'test_request'];

let instance = start();
let passed = 0;
let failed = 0;

for (const file of list('vectors').filter((name) => name.endsWith('.json'))) {
  const bytes = read(`vectors/${file}`);
  hold(`vectors/${file}`, () => call(bytes, (exports) => exports.vector()) === 1);
}
const vectors = passed + failed;

for (const target of list('fuzz/corpus').filter((name) => !NOT_HERE.includes(name))) {
  const name = new TextEncoder().encode(target);
  for (const file of list(`fuzz/corpus/${target}`)) {
    const bytes = Buffer.concat([name, read(`fuzz/corpus/${target}/${file}`)]);
    hold(`fuzz/corpus/${target}/${file}`, () =>
      isAsNamed(file, call(bytes, (exports) => exports.corpus(name.length)) === 1),
    );
  }
}
const inputs = passed + failed - vectors;

console.log(`fuzz targets not run as WebAssembly: ${NOT_HERE.join(', ')}`);
console.log(`wasm: ${vectors} vectors and ${inputs} inputs of fuzz targets: ${passed} passed, ${failed} failed`);
process.exitCode = failed === 0 && vectors > 0 && inputs > 0 ? 0 : 1;

function start() {
  return new WebAssembly.Instance(module).exports;
}

function list(folder) {
  return readdirSync(new URL(folder, root)).sort();
}

function read(path) {
  return readFileSync(new URL(path, root));
}

function call(bytes, exported) {
  const at = instance.input(bytes.length);
  new Uint8Array(instance.memory.buffer, at, bytes.length).set(bytes);
  return exported(instance);
}

// What a name in a corpus promises: see `fuzz/README.md`.
function isAsNamed(file, accepted) {
  const kind = file.split('-', 1)[0];
  return { valid: accepted, invalid: !accepted, found: true, script: true }[kind] ?? false;
}

function hold(path, judge) {
  let words = '';
  let isRight = false;
  try {
    isRight = judge();
    words = isRight ? '' : said();
  } catch (trap) {
    words = `${said()}\n${trap.stack}`;
    instance = start();
  }
  if (isRight) {
    passed += 1;
  } else {
    failed += 1;
    console.error(`${path}: not as it should be\n${words}`);
  }
}

function said() {
  const bytes = new Uint8Array(instance.memory.buffer, instance.words(), instance.words_len());
  return new TextDecoder().decode(bytes);
}
