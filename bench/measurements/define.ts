/** Storing a definition, against writing the same bytes durably; and reading it back. */
import { closeSync, fsyncSync, openSync, readFileSync, renameSync, statSync, writeSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { twentyDeviceXml } from '../definitions.ts';
import { absolute, compare, type Measurement } from '../result.ts';
import { timeMs } from '../statistics.ts';
import type { Bench } from './bench.ts';

export async function measureDefine(bench: Bench): Promise<readonly Measurement[]> {
  await using client = await bench.daemon.connect();
  const xml = twentyDeviceXml('defined', bench.images);
  const { domain } = await client.call('domain.define', { xml });
  const target = { domain: 'defined' }; // without a uuid in the text, each define makes another

  const stored = join(bench.daemon.root, 'etc/vireo/domains', `${domain.uuid}.xml`);
  const file = join(bench.place.make('define'), 'definition.xml');
  const bytes = readFileSync(stored);
  const ours: number[] = [];
  const plain: number[] = [];
  const durable: number[] = [];
  const dump: number[] = [];
  for (let round = 0; round < bench.rounds * 5; round += 1) {
    await client.call('domain.undefine', target);
    ours.push(await timeMs(() => client.call('domain.define', { xml })));
    plain.push(await timeMs(() => writeAndRename(file, bytes)));
    durable.push(await timeMs(() => writeDurably(file, bytes)));
    dump.push(await timeMs(() => client.call('domain.xml', target)));
  }
  await client.call('domain.undefine', target);
  if (statSync(file).size !== bytes.length) throw new Error('the floor wrote something else');
  return [
    compare('define 20 devices / write+fsync+rename', 'ms', { ours, floor: plain }, 2),
    compare('define 20 devices / the same + fsync of the directory', 'ms', { ours, floor: durable }),
    absolute('XML of a 20-device domain', 'ms', dump),
  ];
}

function writeAndRename(path: string, bytes: Buffer): void {
  const fd = openSync(`${path}.new`, 'w', 0o600);
  writeSync(fd, bytes);
  fsyncSync(fd);
  closeSync(fd);
  renameSync(`${path}.new`, path);
}

/** What survives a power cut by the letter of POSIX: the directory's entry too. */
function writeDurably(path: string, bytes: Buffer): void {
  writeAndRename(path, bytes);
  const fd = openSync(dirname(path), 'r');
  fsyncSync(fd);
  closeSync(fd);
}
