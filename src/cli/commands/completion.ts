/** `completion`, which prints a shell's script, and the hidden `__complete`, which those scripts ask for names. */
import { Argument } from 'commander';
import type { VireoClient } from '../../api/client.ts';
import type { Cli } from '../cli.ts';
import { bashCompletion } from '../completion/bash.ts';
import { fishCompletion } from '../completion/fish.ts';
import { commandTree, type NamedKind, namedKinds } from '../completion/tree.ts';
import { zshCompletion } from '../completion/zsh.ts';
import { connectTo } from '../connect.ts';
import { DEFAULT_POOL } from '../volumes.ts';
import type { AddCommand } from './command.ts';

const scripts = { bash: bashCompletion, zsh: zshCompletion, fish: fishCompletion } as const;
type Shell = keyof typeof scripts;

const howTo = `
To switch it on:
  bash   source <(vireo completion bash)          in ~/.bashrc
  zsh    source <(vireo completion zsh)           in ~/.zshrc, after compinit
  fish   vireo completion fish | source           in ~/.config/fish/config.fish`;

export const addCompletion: AddCommand = (parent, cli) => {
  parent
    .command('completion')
    .summary('print a completion script for your shell')
    .description(
      'Prints a script that completes commands, options and names of domains, networks, pools, volumes and secrets.',
    )
    .addArgument(new Argument('<shell>', 'Which shell.').choices(Object.keys(scripts)))
    .addHelpText('after', howTo)
    .action((shell: Shell) => cli.out.write(scripts[shell](commandTree(parent))));
};

/** A completion must not make the user wait. */
const PATIENCE_MS = 1000;

export const addComplete: AddCommand = (parent, cli) => {
  parent
    .command('__complete', { hidden: true })
    .description('Prints names for completions, one a line.')
    .addArgument(new Argument('<what>').choices(namedKinds.map((kind) => `${kind}s`)))
    .action((what: keyof typeof namesOf) => completeNames(cli, what));
};

const patience = { timeoutMs: PATIENCE_MS };

/** How each kind of object is named on a command line. */
const namesOf: Readonly<Record<`${NamedKind}s`, (client: VireoClient) => Promise<string[]>>> = {
  domains: async (client) => (await client.call('domain.list', {}, patience)).domains.map(({ name }) => name),
  networks: async (client) =>
    (await client.call('network.list', {}, patience)).networks.map(({ name }) => name),
  pools: async (client) => (await client.call('pool.list', {}, patience)).pools.map(({ name }) => name),
  volumes: volumeNames,
  secrets: async (client) =>
    (await client.call('secret.list', {}, patience)).secrets.flatMap(({ uuid, usageType, usage }) =>
      usageType === null ? [uuid] : [`${usageType}:${usage ?? ''}`, uuid],
    ),
};

/** `isos/debian.iso`, and those of pool default by their name alone, too. */
async function volumeNames(client: VireoClient): Promise<string[]> {
  const { pools } = await client.call('pool.list', { active: true }, patience);
  const lists = await Promise.all(
    pools.map(async ({ name: pool }) => {
      const { volumes } = await client.call('volume.list', { pool }, patience);
      const names = volumes.map(({ name }) => `${pool}/${name}`);
      return pool === DEFAULT_POOL ? [...volumes.map(({ name }) => name), ...names] : names;
    }),
  );
  return lists.flat();
}

async function completeNames(cli: Cli, what: keyof typeof namesOf): Promise<void> {
  const client = await connectTo(cli.target, { env: cli.world.env, mayStart: false, ...patience });
  try {
    // A name that a terminal or a line-wise reader would take for something else is not offered.
    const names = (await namesOf[what](client)).filter((name) => !/[\p{Cc}\p{Cf}]/u.test(name));
    cli.out.write(names.map((name) => `${name}\n`).join(''));
  } finally {
    await client.close();
  }
}
