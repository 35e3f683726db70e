/** `network title|description|metadata|ports`: what is known about a network, and who is connected to it. */
import { methodSummary } from '../api-help.ts';
import type { Cli } from '../cli.ts';
import { NETWORK_HELP } from '../networks.ts';
import type { AddCommand } from './command.ts';
import { metadataCommand, type Settable, textCommand } from './settings.ts';

const networks: Settable = {
  noun: 'network',
  argumentHelp: NETWORK_HELP,
  readText: (cli, network, field) =>
    cli.withClient(async (client) => (await client.call('network.get', { network }))[field]),
  async writeText(cli, network, field, text) {
    await cli.withClient((client) =>
      field === 'title'
        ? client.call('network.set-title', { network, title: text })
        : client.call('network.set-description', { network, description: text }),
    );
  },
  readMetadata: (cli, network, uri, inactive) =>
    cli.withClient((client) => client.call('network.get-metadata', { network, uri, inactive })),
  async writeMetadata(cli, network, change) {
    await cli.withClient((client) => client.call('network.set-metadata', { network, ...change }));
  },
};

export const addNetworkTitle = textCommand(networks, 'title');
export const addNetworkDescription = textCommand(networks, 'description');
export const addNetworkMetadata = metadataCommand(networks);

export const addNetworkPorts: AddCommand = (parent, cli) => {
  parent
    .command('ports')
    .summary('show which guests are connected')
    .description(`${methodSummary('network.get')} Only its ports: the interfaces of running guests.`)
    .argument('<network>', NETWORK_HELP)
    .action((network: string) => ports(cli, network));
};

async function ports(cli: Cli, network: string): Promise<void> {
  const [details, { leases }] = await cli.withClient((client) =>
    Promise.all([client.call('network.get', { network }), client.call('network.leases', { network })]),
  );
  const rows = details.ports.map((port) => ({
    ...port,
    addresses: leases.filter(({ mac }) => mac === port.mac).map(({ address }) => address),
  }));
  cli.out.result({ ports: rows }, () =>
    rows.length === 0
      ? 'No guest is connected.\n'
      : cli.out.table(rows, [
          { title: 'DEVICE', value: ({ device }) => device },
          { title: 'GUEST', value: ({ domain }) => domain.name, shrinks: true },
          { title: 'MAC', value: ({ mac }) => mac },
          { title: 'ADDRESSES', value: ({ addresses }) => addresses.join(' ') },
        ]),
  );
}
