/** `image list|search|pull`: cloud images that distributions publish. */
import type { Result } from '../../api/index.ts';
import { formatBytes } from '../../base/units.ts';
import { methodSummary } from '../api-help.ts';
import type { Cli } from '../cli.ts';
import type { Column } from '../format/table.ts';
import { withInterrupt } from '../interrupt.ts';
import { watchingImport } from '../watch-import.ts';
import type { AddCommand } from './command.ts';

type Entry = Result<'image.list'>['images'][number];
type Pulled = Entry['pulled'][number];

const pulledColumns: readonly Column<Pulled & { readonly image: string }>[] = [
  { title: 'IMAGE', value: ({ image }) => image },
  { title: 'ARCH', value: ({ arch }) => arch },
  { title: 'SIZE', value: ({ sizeBytes }) => formatBytes(sizeBytes), align: 'right' },
  { title: 'PULLED', value: ({ pulledAt }) => pulledAt.slice(0, 10) },
  { title: 'VOLUME', value: ({ pool, volume }) => `${pool}/${volume}`, shrinks: true },
];

const searchColumns: readonly Column<Entry>[] = [
  { title: 'IMAGE', value: ({ image }) => image },
  { title: 'TITLE', value: ({ title }) => title },
  { title: 'ALSO', value: ({ aliases }) => aliases.join(', ') },
  { title: 'ARCHITECTURES', value: ({ architectures }) => architectures.join(' '), shrinks: true },
  { title: 'USER', value: ({ user }) => user },
  { title: 'HERE', value: ({ pulled }) => (pulled.length > 0 ? 'yes' : '') },
];

export const addImage: AddCommand = (parent, cli) => {
  const image = parent
    .command('image')
    .summary('cloud images of distributions')
    .description('Finds and pulls the cloud images that distributions publish.');
  addImageList(image, cli);
  addImageSearch(image, cli);
  addImagePull(image, cli);
};

const addImageList: AddCommand = (parent, cli) => {
  parent
    .command('list')
    .alias('ls')
    .summary('list the images that are here')
    .description("Lists the cloud images that were pulled. Delete one with 'vireo volume delete'.")
    .action(async () => {
      const { images } = await cli.withClient((client) => client.call('image.list', {}));
      const rows = images.flatMap(({ image, pulled }) => pulled.map((one) => ({ image, ...one })));
      cli.out.result({ images: rows }, () =>
        rows.length === 0
          ? "No image is here yet; 'vireo image search' shows what there is.\n"
          : cli.out.table(rows, pulledColumns),
      );
    });
};

const addImageSearch: AddCommand = (parent, cli) => {
  parent
    .command('search')
    .summary('list the images that the catalogue knows')
    .description(methodSummary('image.list'))
    .argument('[text]', 'Only those with this in their name.')
    .action(async (text = '') => {
      const { images } = await cli.withClient((client) => client.call('image.list', {}));
      const found = images.filter((entry) => isMatch(entry, String(text).toLowerCase()));
      cli.out.result({ images: found }, () =>
        found.length === 0 ? `No image is called like '${text}'.\n` : cli.out.table(found, searchColumns),
      );
    });
};

function isMatch({ image, title, aliases }: Entry, text: string): boolean {
  const distribution = image.split(':')[0] ?? '';
  const names = [image, title.toLowerCase(), ...aliases.map((alias) => `${distribution}:${alias}`)];
  return names.some((name) => name.includes(text));
}

const addImagePull: AddCommand = (parent, cli) => {
  parent
    .command('pull')
    .summary('bring an image here')
    .description(methodSummary('image.pull'))
    .argument('<image>', 'NAME:VERSION[:ARCH], like debian:13 or ubuntu:noble:aarch64.')
    .option('--pool <pool>', 'Pool for it.', 'default')
    .action((image: string, { pool }: { readonly pool: string }) => pull(cli, image, pool));
};

async function pull(cli: Cli, image: string, pool: string): Promise<void> {
  const result = await withInterrupt((signal) =>
    cli.withClient((client) =>
      watchingImport(cli, client, pool, () => client.call('image.pull', { image, pool }, { signal })),
    ),
  );
  const { pulled } = result;
  cli.out.result(
    result,
    () =>
      `${result.image} is ${result.new ? 'here' : 'here already'}: ${pulled.pool}/${pulled.volume}, ${formatBytes(pulled.sizeBytes)}.\n`,
  );
}
