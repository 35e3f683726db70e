/** `network start|stop|reload|autostart`. */
import type { Command } from 'commander';
import { methodSummary } from '../api-help.ts';
import { forEachNamed } from '../for-each.ts';
import { NETWORK_HELP } from '../networks.ts';
import type { AddCommand } from './command.ts';

function networksCommand(parent: Command, name: string, summary: string): Command {
  return parent.command(name).summary(summary).argument('<network...>', NETWORK_HELP);
}

export const addNetworkStart: AddCommand = (parent, cli) => {
  networksCommand(parent, 'start', 'start a network')
    .description(methodSummary('network.start'))
    .action((names: string[]) =>
      forEachNamed(cli, names, async (client, network) => {
        const document = await client.call('network.start', { network });
        for (const warning of document.warnings) cli.out.warn(warning);
        return { document, said: `Network '${document.name}' is active.` };
      }),
    );
};

export const addNetworkStop: AddCommand = (parent, cli) => {
  networksCommand(parent, 'stop', 'stop a network')
    .alias('destroy')
    .description(`${methodSummary('network.stop')} Guests on it run on, without a connection.`)
    .action((names: string[]) =>
      forEachNamed(cli, names, async (client, network) => {
        const document = await client.call('network.stop', { network });
        const { disconnected } = document;
        const lost =
          disconnected.length === 0 ? '' : ` Without a connection now: ${disconnected.join(', ')}.`;
        return { document: { network, ...document }, said: `Network '${network}' is stopped.${lost}` };
      }),
    );
};

export const addNetworkReload: AddCommand = (parent, cli) => {
  networksCommand(parent, 'reload', 'restore its firewall rules, bridge and servers')
    .description(methodSummary('network.reload'))
    .action((names: string[]) =>
      forEachNamed(cli, names, async (client, network) => {
        await client.call('network.reload', { network });
        return { document: { network }, said: `Network '${network}' is as it should be.` };
      }),
    );
};

export const addNetworkAutostart: AddCommand = (parent, cli) => {
  networksCommand(parent, 'autostart', 'set whether a network starts with the daemon')
    .description(methodSummary('network.set-autostart'))
    .option('--off', 'Do not start it with the daemon any more.')
    .action((names: string[], { off = false }: { readonly off?: boolean }) =>
      forEachNamed(cli, names, async (client, network) => {
        await client.call('network.set-autostart', { network, autostart: !off });
        const said = `Network '${network}' ${off ? 'does not start' : 'starts'} with the daemon.`;
        return { document: { network, autostart: !off }, said };
      }),
    );
};
