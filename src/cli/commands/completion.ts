/** `completion`, which prints a shell's script, and the hidden `__complete`, which those scripts ask for names. */
import { Argument } from 'commander';
import type { Cli } from '../cli.ts';
import { bashCompletion } from '../completion/bash.ts';
import { fishCompletion } from '../completion/fish.ts';
import { commandTree } from '../completion/tree.ts';
import { zshCompletion } from '../completion/zsh.ts';
import { connectTo } from '../connect.ts';
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
    .description('Prints a script that completes commands, options and names of domains and networks.')
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
    .addArgument(new Argument('<what>').choices(['domains', 'networks']))
    .action((what: 'domains' | 'networks') => completeNames(cli, what));
};

async function completeNames(cli: Cli, what: 'domains' | 'networks'): Promise<void> {
  const client = await connectTo(cli.target, { env: cli.world.env, mayStart: false, timeoutMs: PATIENCE_MS });
  try {
    const found =
      what === 'domains'
        ? (await client.call('domain.list', {}, { timeoutMs: PATIENCE_MS })).domains
        : (await client.call('network.list', {}, { timeoutMs: PATIENCE_MS })).networks;
    // A name that a terminal or a line-wise reader would take for something else is not offered.
    const names = found.map(({ name }) => name).filter((name) => !/[\p{Cc}\p{Cf}]/u.test(name));
    cli.out.write(names.map((name) => `${name}\n`).join(''));
  } finally {
    await client.close();
  }
}
