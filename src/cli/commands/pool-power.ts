/** `pool build|start|stop|refresh|delete|autostart`. */
import type { Command } from 'commander';
import { methodSummary, paramHelp } from '../api-help.ts';
import { forEachNamed } from '../for-each.ts';

import { confirm } from '../prompt.ts';
import { POOL_HELP } from '../volumes.ts';
import type { AddCommand } from './command.ts';

function poolsCommand(parent: Command, name: string, summary: string): Command {
  return parent.command(name).summary(summary).argument('<pool...>', POOL_HELP);
}

interface BuildFlags {
  readonly build?: boolean;
  readonly overwrite?: boolean;
}

export const addPoolBuild: AddCommand = (parent, cli) => {
  poolsCommand(parent, 'build', 'make its directory, file system or volume group')
    .description(methodSummary('pool.build'))
    .option('--overwrite', paramHelp('pool.build', 'overwrite'))
    .option('-y, --yes', 'Do not ask before overwriting.')
    .action(
      async (names: string[], { overwrite = false, yes = false }: { overwrite?: boolean; yes?: boolean }) => {
        if (overwrite)
          await confirm(cli, `Overwrite whatever is on the storage of ${names.join(', ')}?`, yes);
        await forEachNamed(cli, names, async (client, pool) => {
          await client.call('pool.build', { pool, overwrite });
          return { document: { pool }, said: `Pool '${pool}' is built.` };
        });
      },
    );
};

export const addPoolStart: AddCommand = (parent, cli) => {
  poolsCommand(parent, 'start', 'start a pool')
    .description(methodSummary('pool.start'))
    .option('--build', paramHelp('pool.start', 'build'))
    .action((names: string[], { build = false }: BuildFlags) =>
      forEachNamed(cli, names, async (client, pool) => {
        const document = await client.call('pool.start', { pool, build });
        return { document, said: `Pool '${document.name}' is active, with ${document.volumes} volumes.` };
      }),
    );
};

export const addPoolStop: AddCommand = (parent, cli) => {
  poolsCommand(parent, 'stop', 'stop a pool')
    .alias('destroy')
    .description(methodSummary('pool.stop'))
    .action((names: string[]) =>
      forEachNamed(cli, names, async (client, pool) => {
        await client.call('pool.stop', { pool });
        return { document: { pool }, said: `Pool '${pool}' is stopped.` };
      }),
    );
};

export const addPoolRefresh: AddCommand = (parent, cli) => {
  poolsCommand(parent, 'refresh', 'read its volumes anew')
    .description(methodSummary('pool.refresh'))
    .action((names: string[]) =>
      forEachNamed(cli, names, async (client, pool) => {
        const document = await client.call('pool.refresh', { pool });
        const { added, removed, changed } = document;
        const said = `Pool '${pool}' was read: ${added} added, ${removed} removed, ${changed} changed.`;
        return { document: { pool, ...document }, said };
      }),
    );
};

export const addPoolDelete: AddCommand = (parent, cli) => {
  poolsCommand(parent, 'delete', 'take away what it was built on')
    .description(methodSummary('pool.delete'))
    .option('-y, --yes', 'Do not ask.')
    .action(async (names: string[], { yes = false }: { readonly yes?: boolean }) => {
      await confirm(cli, `Take away the storage of ${names.join(', ')}?`, yes);
      await forEachNamed(cli, names, async (client, pool) => {
        await client.call('pool.delete', { pool });
        return { document: { pool }, said: `The storage of pool '${pool}' is gone.` };
      });
    });
};

export const addPoolAutostart: AddCommand = (parent, cli) => {
  poolsCommand(parent, 'autostart', 'set whether a pool starts with the daemon')
    .description(methodSummary('pool.set-autostart'))
    .option('--off', 'Do not start it with the daemon any more.')
    .action((names: string[], { off = false }: { readonly off?: boolean }) =>
      forEachNamed(cli, names, async (client, pool) => {
        await client.call('pool.set-autostart', { pool, autostart: !off });
        const said = `Pool '${pool}' ${off ? 'does not start' : 'starts'} with the daemon.`;
        return { document: { pool, autostart: !off }, said };
      }),
    );
};
