/** `volume list|show|xml|find`. */

import type { Result } from '../../api/index.ts';
import { formatBytes } from '../../base/units.ts';
import { methodSummary } from '../api-help.ts';
import type { Cli } from '../cli.ts';
import { type Column, safeLines } from '../format/table.ts';
import { VOLUME_HELP, volumeNamed } from '../volumes.ts';
import type { AddCommand } from './command.ts';

type Entry = Result<'volume.list'>['volumes'][number];

const columns: readonly Column<Entry>[] = [
  { title: 'NAME', value: (volume) => volume.name, shrinks: true },
  { title: 'FORMAT', value: (volume) => volume.format },
  { title: 'SIZE', value: (volume) => formatBytes(volume.capacityBytes), align: 'right' },
  { title: 'TAKEN', value: (volume) => formatBytes(volume.allocationBytes), align: 'right' },
  { title: 'PATH', value: (volume) => volume.path, shrinks: true },
];

export const addVolumeList: AddCommand = (parent, cli) => {
  parent
    .command('list')
    .alias('ls')
    .summary('list the volumes of a pool')
    .description(methodSummary('volume.list'))
    .argument('[pool]', 'Name or uuid of the pool.', 'default')
    .option('--names', 'Print only the names, one a line.')
    .action(async (pool: string, { names = false }: { readonly names?: boolean }) => {
      const result = await cli.withClient((client) => client.call('volume.list', { pool }));
      const { volumes } = result;
      cli.out.result(result, () => {
        if (names) return volumes.map(({ name }) => `${name}\n`).join('');
        return volumes.length === 0 ? `Pool '${pool}' has no volumes.\n` : cli.out.table(volumes, columns);
      });
      if (!names) warnProblems(cli, volumes);
    });
};

function warnProblems(cli: Cli, volumes: readonly Entry[]): void {
  for (const { pool, name, problem } of volumes)
    if (problem !== null) cli.out.warn(`${pool}/${name}: ${problem}`);
}

export const addVolumeShow: AddCommand = (parent, cli) => {
  parent
    .command('show')
    .alias('info')
    .summary('show one volume')
    .description(methodSummary('volume.get'))
    .argument('<volume>', VOLUME_HELP)
    .action((volume: string) => show(cli, volume));
};

async function show(cli: Cli, name: string): Promise<void> {
  const volume = await cli.withClient(async (client) =>
    client.call('volume.get', await volumeNamed(client, name)),
  );
  const { backing, usedBy } = volume;
  const users = usedBy.map(
    (user) =>
      `${user.type} '${user.pool === null ? '' : `${user.pool}/`}${user.name}' (${[...(user.active ? ['running'] : []), ...user.as].join(', ')})`,
  );
  cli.out.result(volume, () =>
    cli.out.facts([
      ['Name', volume.name],
      ['Pool', volume.pool],
      ['Path', volume.path],
      ['Format', volume.format],
      ['Size', formatBytes(volume.capacityBytes)],
      ['Taken', formatBytes(volume.allocationBytes)],
      ['Lies on', backing === null ? undefined : `${backing.path} (${backing.format ?? 'format not told'})`],
      ['Encryption', volume.encryption ?? undefined],
      ['Options', optionsOf(volume)],
      ...headerFacts(volume.header),
      ['Mode', volume.mode === null ? undefined : volume.mode.toString(8).padStart(4, '0')],
      ['Owner', volume.owner === null ? undefined : `${volume.owner}:${volume.group}`],
      ['Changed', volume.modifiedAt ?? undefined],
      ['Used by', users.length === 0 ? undefined : users.join(', ')],
      ['Job', volume.job?.name],
      ['Problem', volume.problem ?? undefined],
    ]),
  );
}

type Details = Result<'volume.get'>;

function optionsOf({
  compat,
  clusterSizeBytes,
  lazyRefcounts,
  extendedL2,
  header,
}: Details): string | undefined {
  const clusterBytes = header?.clusterBytes ?? clusterSizeBytes;
  const bits = header?.refcountBits ?? null;
  const known = [
    ...(header?.kind == null ? [] : [header.kind]),
    ...(compat === null ? [] : [`compat ${compat}`]),
    ...(clusterBytes === null ? [] : [`clusters of ${formatBytes(clusterBytes)}`]),
    ...(bits === null ? [] : [`refcounts of ${bits} bits`]),
    ...(header?.compression == null ? [] : [`${header.compression} compression`]),
    ...(header?.features ?? [
      ...(lazyRefcounts ? ['lazy-refcounts'] : []),
      ...(extendedL2 ? ['extended-l2'] : []),
    ]),
  ];
  return known.length === 0 ? undefined : known.join(', ');
}

function headerFacts(header: Details['header']): [string, string | undefined][] {
  if (header === null) return [];
  const { dataFile, extents, encryption, snapshots, bitmaps, bootsOn } = header;
  const count = (number: number | null) => (number ? String(number) : undefined);
  return [
    ['Data in', dataFile === '' ? 'another file' : (dataFile ?? undefined)],
    [
      'Extents',
      extents.map(({ name, kind, sizeBytes }) => `${name} (${kind}, ${formatBytes(sizeBytes)})`).join(', ') ||
        undefined,
    ],
    ['Cipher', encryption?.cipher ?? undefined],
    ['Snapshots', count(snapshots)],
    ['Bitmaps', count(bitmaps)],
    ['Label', header.label ?? undefined],
    ['Image UUID', header.uuid ?? undefined],
    ['Boots on', bootsOn === null ? undefined : bootsOn.join(', ') || 'nothing'],
    ['Truncated', header.truncated ? 'the file is shorter than its header says' : undefined],
  ];
}

export const addVolumeXml: AddCommand = (parent, cli) => {
  parent
    .command('xml')
    .alias('dumpxml')
    .summary('describe a volume in XML')
    .description(methodSummary('volume.xml'))
    .argument('<volume>', VOLUME_HELP)
    .action(async (name: string) => {
      const result = await cli.withClient(async (client) =>
        client.call('volume.xml', await volumeNamed(client, name)),
      );
      cli.out.result(result, () => safeLines(result.xml));
    });
};

export const addVolumeFind: AddCommand = (parent, cli) => {
  parent
    .command('find')
    .summary('tell which volume a path or key is')
    .description(methodSummary('volume.find'))
    .argument('<path>', 'A path on this host, or a key.')
    .action(async (path: string) => {
      const wish = path.startsWith('/') ? { path } : { key: path };
      const result = await cli.withClient((client) => client.call('volume.find', wish));
      cli.out.result(result, () => `${result.pool}/${result.name}\n`);
    });
};
