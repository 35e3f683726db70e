/** `domain forward list|add|remove`: ports of the host that lead into a guest with user networking. */
import type { Result } from '../../api/index.ts';
import { methodSummary, paramHelp } from '../api-help.ts';
import type { Cli } from '../cli.ts';
import { DOMAIN_HELP, withDomain } from '../domains.ts';
import { formatEndpoint, parseForward, parseHostEnd } from '../options/forward.ts';
import type { AddCommand } from './command.ts';

type Forward = Result<'domain.port-forward.add'>;

const FORWARD_HELP = '[tcp|udp:][HOST-ADDRESS:]HOST-PORT:[GUEST-ADDRESS:]GUEST-PORT, like 2222:22.';

interface ForwardOptions {
  readonly interface?: string;
}

export const addForward: AddCommand = (parent, cli) => {
  const forward = parent
    .command('forward')
    .summary('ports of the host that lead into a domain')
    .description('Lists and changes the port forwards of a domain with user networking.');
  forward
    .command('list')
    .summary('list the port forwards')
    .description(methodSummary('domain.port-forward.list'))
    .argument('<domain>', DOMAIN_HELP)
    .action((name: string) => list(cli, name));
  forward
    .command('add')
    .summary('lead a port into a domain')
    .description(methodSummary('domain.port-forward.add'))
    .argument('<domain>', DOMAIN_HELP)
    .argument('<forward>', FORWARD_HELP)
    .option('--interface <alias>', paramHelp('domain.port-forward.add', 'interface'))
    .action((name: string, text: string, options: ForwardOptions) => add(cli, { name, text, ...options }));
  forward
    .command('remove')
    .summary('take a port forward away')
    .description(methodSummary('domain.port-forward.remove'))
    .argument('<domain>', DOMAIN_HELP)
    .argument('<host-port>', '[tcp|udp:][HOST-ADDRESS:]HOST-PORT, like 2222 or udp:5353.')
    .option('--interface <alias>', paramHelp('domain.port-forward.remove', 'interface'))
    .action((name: string, text: string, options: ForwardOptions) => remove(cli, { name, text, ...options }));
};

async function list(cli: Cli, name: string): Promise<void> {
  const result = await withDomain(cli, name, (client, domain) =>
    client.call('domain.port-forward.list', { domain }),
  );
  cli.out.result(result, () =>
    result.portForwards.length === 0
      ? 'There are no port forwards.\n'
      : cli.out.table(result.portForwards, [
          { title: 'INTERFACE', value: (forward) => forward.interface },
          { title: 'PROTOCOL', value: (forward) => forward.protocol },
          { title: 'HOST', value: hostEnd },
          { title: 'GUEST', value: guestEnd },
        ]),
  );
}

const hostEnd = (forward: Forward) => formatEndpoint(forward.hostAddress, forward.hostPort);
const guestEnd = (forward: Forward) => formatEndpoint(forward.guestAddress, forward.guestPort);

type Wish = ForwardOptions & { readonly name: string; readonly text: string };

const interfaceParam = (wish: Wish) => wish.interface !== undefined && { interface: wish.interface };

async function add(cli: Cli, wish: Wish): Promise<void> {
  const spec = parseForward('the forward', wish.text);
  const result = await withDomain(cli, wish.name, (client, domain) =>
    client.call('domain.port-forward.add', { domain, ...spec, ...interfaceParam(wish) }),
  );
  cli.out.result(
    result,
    () => `${result.protocol} ${hostEnd(result)} leads to ${guestEnd(result)} of '${wish.name}'.\n`,
  );
}

async function remove(cli: Cli, wish: Wish): Promise<void> {
  const { protocol, hostAddress, hostPort } = parseHostEnd(wish.text);
  await withDomain(cli, wish.name, (client, domain) =>
    client.call('domain.port-forward.remove', {
      domain,
      protocol,
      hostPort,
      ...(hostAddress !== undefined && { hostAddress }),
      ...interfaceParam(wish),
    }),
  );
  cli.out.result(
    { domain: wish.name, protocol, hostPort },
    () => `The forward of port ${hostPort} is gone.\n`,
  );
}
