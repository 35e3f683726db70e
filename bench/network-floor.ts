/**
 * The floor of a network, in a process of its own inside the namespace: one `ip -batch`, one `nft -f -` and dnsmasq, with
 * the very rules and configuration that the daemon has used. Told on stdin by lines `start` and `stop`, it answers with
 * the milliseconds each took. Its argument is a `NetworkRecipe` as JSON.
 */
import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { createInterface } from 'node:readline';

export interface NetworkRecipe {
  readonly bridge: string;
  readonly address: string;
  /** Input for nft, and the tables that it makes. */
  readonly rules: string;
  readonly tables: readonly string[];
  readonly configuration: string;
  readonly pidFile: string;
}

const recipe = JSON.parse(process.argv[2] ?? '{}') as NetworkRecipe;

function run(program: string, words: readonly string[], input = ''): void {
  execFileSync(program, words, { input, stdio: ['pipe', 'ignore', 'inherit'] });
}

function start(): void {
  const { bridge, address, rules, configuration } = recipe;
  const lines = [
    `link add ${bridge} type bridge stp_state 1 forward_delay 0`,
    `addr add ${address} dev ${bridge}`,
    `link set ${bridge} up`,
  ];
  run('ip', ['-batch', '-'], `${lines.join('\n')}\n`);
  run('nft', ['-f', '-'], rules);
  // It returns when the server in the background is ready.
  run('dnsmasq', [`--conf-file=${configuration}`]);
}

function stop(): void {
  const pid = Number(readFileSync(recipe.pidFile, 'utf8'));
  process.kill(pid, 'SIGTERM');
  run('nft', ['-f', '-'], recipe.tables.map((table) => `delete table ${table}\n`).join(''));
  run('ip', ['link', 'delete', recipe.bridge]);
}

for await (const line of createInterface({ input: process.stdin })) {
  const begun = performance.now();
  if (line === 'start') start();
  else stop();
  process.stdout.write(`${performance.now() - begun}\n`);
}
