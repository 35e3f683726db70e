/** `network forward list|add|remove`: ports of the host that lead into a network. */
import { isIP } from 'node:net';
import type { Result } from '../../api/index.ts';
import { methodSummary } from '../api-help.ts';
import type { Cli } from '../cli.ts';
import type { Output } from '../format/output.ts';
import { NETWORK_HELP } from '../networks.ts';
import { badOption } from '../options/fields.ts';
import { formatEndpoint, parseForward, parseHostEnd, splitRange } from '../options/forward.ts';
import type { AddCommand } from './command.ts';

type Forward = Result<'network.port-forward.add'>;

const TO_HELP = 'Name of the guest, or its address.';

export const addNetworkForward: AddCommand = (parent, cli) => {
  const forward = parent
    .command('forward')
    .summary('ports of the host that lead into a network')
    .description('Lists and changes the port forwards of a network.');
  forward
    .command('list')
    .summary('list the port forwards')
    .description(methodSummary('network.port-forward.list'))
    .argument('<network>', NETWORK_HELP)
    .action((network: string) => list(cli, network));
  forward
    .command('add')
    .summary('lead a port into a network')
    .description(methodSummary('network.port-forward.add'))
    .argument('<network>', NETWORK_HELP)
    .argument('<guest>', TO_HELP)
    .argument(
      '<forward>',
      '[tcp|udp:][HOST-ADDRESS:]HOST-PORT[-LAST]:GUEST-PORT, like 8080:80 or 8000-8009:8000.',
    )
    .action((network: string, guest: string, text: string) => add(cli, { network, guest, text }));
  forward
    .command('remove')
    .summary('take a port forward away')
    .description(methodSummary('network.port-forward.remove'))
    .argument('<network>', NETWORK_HELP)
    .argument('<host-port>', '[tcp|udp:][HOST-ADDRESS:]HOST-PORT, like 8080 or udp:5353.')
    .action((network: string, text: string) => remove(cli, network, text));
};

/** Forwards as a table, for `forward list` and `show`. */
export function forwardTable(out: Output, forwards: readonly Forward[]): string {
  return out.table(forwards, [
    { title: 'FORWARD', value: (forward) => forward.protocol },
    { title: 'HOST', value: hostEnd },
    { title: 'GUEST', value: (forward) => forward.guest ?? '' },
    { title: 'LEADS TO', value: guestEnd },
    {
      title: 'STATE',
      value: (forward) => (forward.active ? 'active' : 'waiting'),
      tone: (forward) => (forward.active ? 'good' : 'warning'),
    },
    { title: 'TROUBLE', value: (forward) => forward.trouble ?? '', shrinks: true },
  ]);
}

const hostEnd = ({ hostAddress, hostPort, count }: Forward) => portsAt(hostAddress, hostPort, count);
const guestEnd = ({ guestAddress, guestPort, count }: Forward) => portsAt(guestAddress, guestPort, count);

/** `192.0.2.1:8000-8009`, `ports 8000-8009`, `port 80`. */
function portsAt(address: string | null, port: number, count: number): string {
  const first = formatEndpoint(address ?? undefined, port);
  return count === 1 ? first : `${first.replace(/^port /, 'ports ')}-${port + count - 1}`;
}

async function list(cli: Cli, network: string): Promise<void> {
  const result = await cli.withClient((client) => client.call('network.port-forward.list', { network }));
  cli.out.result(result, () =>
    result.portForwards.length === 0
      ? 'There are no port forwards.\n'
      : forwardTable(cli.out, result.portForwards),
  );
}

interface Wish {
  readonly network: string;
  readonly guest: string;
  readonly text: string;
}

async function add(cli: Cli, { network, guest, text }: Wish): Promise<void> {
  const { text: single, count } = splitRange('the forward', text);
  const { guestAddress, ...end } = parseForward('the forward', single);
  if (guestAddress !== undefined)
    throw badOption(
      'the forward',
      text,
      'the guest is named by an argument of its own',
      'write it like: vireo network forward add default 192.168.122.10 8080:80',
    );
  const to = isIP(guest) === 0 ? { guest } : { guestAddress: guest };
  const result = await cli.withClient((client) =>
    client.call('network.port-forward.add', { network, ...end, ...to, count }),
  );
  const waits = result.active ? '' : ', as soon as it is there';
  cli.out.result(
    result,
    () =>
      `${result.protocol} ${hostEnd(result)} leads to ${result.guest === null ? guestEnd(result) : `${portsAt(null, result.guestPort, result.count)} of '${result.guest}'`}${waits}.\n`,
  );
}

async function remove(cli: Cli, network: string, text: string): Promise<void> {
  const { protocol, hostAddress, hostPort } = parseHostEnd(splitRange('the forward', text).text);
  await cli.withClient((client) =>
    client.call('network.port-forward.remove', {
      network,
      protocol,
      hostPort,
      ...(hostAddress !== undefined && { hostAddress }),
    }),
  );
  cli.out.result({ network, protocol, hostPort }, () => `The forward of port ${hostPort} is gone.\n`);
}
