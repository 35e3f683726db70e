/** `domain addresses`: where a guest is reached, and who says so. */
import type { Result } from '../../api/index.ts';
import { methodSummary, paramHelp } from '../api-help.ts';
import type { Cli } from '../cli.ts';
import { DOMAIN_HELP, withDomain } from '../domains.ts';
import { badOption } from '../options/fields.ts';
import { type AddCommand, collect } from './command.ts';

type Found = Result<'domain.addresses'>;
type Source = Found['silent'][number]['source'];

const sources = ['lease', 'agent', 'arp', 'user'] as const satisfies readonly Source[];

interface AddressesOptions {
  readonly source?: readonly string[];
}

export const addAddresses: AddCommand = (parent, cli) => {
  parent
    .command('addresses')
    .alias('addr')
    .summary('show the addresses of a guest, and who says so')
    .description(
      `${methodSummary('domain.addresses')} lease: DHCP of its network. agent: the guest agent. arp: the host's neighbour table. user: open connections of a user network.`,
    )
    .argument('<domain>', DOMAIN_HELP)
    .option(
      '--source <source>',
      `${sources.join(', ')}: ${paramHelp('domain.addresses', 'sources')} May be given several times.`,
      collect,
    )
    .action((name: string, options: AddressesOptions) => show(cli, name, options.source?.map(sourceOf)));
};

function sourceOf(text: string): Source {
  const found = sources.find((source) => source === text);
  if (found !== undefined) return found;
  throw badOption('--source', text, 'there is no such source', `the sources are ${sources.join(', ')}`);
}

interface Row {
  readonly nic: Found['interfaces'][number];
  readonly one: Found['interfaces'][number]['addresses'][number];
}

async function show(cli: Cli, name: string, wanted: readonly Source[] | undefined): Promise<void> {
  const found = await withDomain(cli, name, (client, domain) =>
    client.call('domain.addresses', { domain, ...(wanted && { sources: [...wanted] }) }),
  );
  const rows = found.interfaces.flatMap((nic) => nic.addresses.map((one): Row => ({ nic, one })));
  cli.out.result(found, () => {
    if (rows.length === 0) return noAddresses(found);
    return cli.out.table(rows, [
      { title: 'INTERFACE', value: ({ nic }) => nic.device ?? nic.alias ?? '-' },
      { title: 'IN GUEST', value: ({ nic }) => nic.guestName ?? '', shrinks: true },
      { title: 'MAC', value: ({ nic }) => nic.mac ?? '' },
      {
        title: 'ADDRESS',
        value: ({ one }) => `${one.address}${one.prefix === null ? '' : `/${one.prefix}`}`,
      },
      { title: 'SOURCE', value: ({ one }) => sourceText(one) },
    ]);
  });
}

function sourceText({ sources: told, confirmed }: Row['one']): string {
  if (told.includes('assumed')) return "assumed: what the user network's DHCP gives first";
  return `${told.join(', ')}${confirmed ? '' : ' (old)'}`;
}

/** No address, and what each source had to say to that. */
function noAddresses({ silent }: Found): string {
  const reasons = silent.map(({ source, reason }) => `  ${source}: ${reason}\n`).join('');
  return `No address is known.\n${reasons}`;
}
