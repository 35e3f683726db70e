/** Upload and download through the daemon, against a bare copy between a socket and a file, and by virsh against libvirtd. */

import { randomFillSync } from 'node:crypto';
import { once } from 'node:events';
import { createReadStream, createWriteStream, mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { open } from 'node:fs/promises';
import { connect, createServer } from 'node:net';
import { join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { connectVireo } from '../../src/api/client.ts';
import { downloadVolume, uploadVolume } from '../../src/api/volume-streams.ts';
import { absolute, compare, type Measurement } from '../result.ts';
import { timeMs } from '../statistics.ts';
import { Teller, virshTime } from '../teller.ts';
import type { Bench } from './bench.ts';

const MIB = 1024 * 1024;

/** Goals: a quarter and a fifth of the speed of the bare copy, so four and five times its duration. */
export async function measureStorageTransfer(bench: Bench): Promise<readonly Measurement[]> {
  const directory = bench.place.make('storage-transfer');
  const file = join(directory, 'file');
  const bytes = (bench.isQuick ? 128 : 256) * MIB;
  const buffer = Buffer.alloc(MIB);
  const pieces = Array.from({ length: bytes / MIB }, () => Buffer.from(randomFillSync(buffer)));
  writeFileSync(file, Buffer.concat(pieces));
  const client = await connectVireo({ socketPath: bench.daemon.socketPath });
  const up = { ours: [] as number[], floor: [] as number[] };
  const down = { ours: [] as number[], floor: [] as number[] };
  try {
    await client.call('pool.create', {
      name: 'bench',
      path: join(directory, 'pool'),
      build: true,
      start: true,
    });
    for (let round = 0; round < Math.min(5, bench.rounds); round += 1) {
      up.ours.push(await timeMs(() => upload(client, file, bytes)));
      down.ours.push(await timeMs(() => download(client, join(directory, 'back'))));
      const bare = await timeMs(() => bareCopy(file, join(directory, 'bare')));
      up.floor.push(bare);
      down.floor.push(bare);
    }
  } finally {
    await client.close();
    rmSync(directory, { recursive: true, force: true });
  }
  const name = `${bytes / MIB} MiB / a bare copy from a socket to a file`;
  return [
    compare(`upload ${name}`, 'ms', up, 4),
    compare(`download ${name}`, 'ms', down, 5),
    ...(await measureWire(bench, bytes)),
  ];
}

/** Goal through libvirt's protocol: 1.2 times libvirtd's speed, so 0.83 of its time, by the same virsh. */
const WIRE_GOAL = 0.83;

/** The same bytes by virsh, into and out of a volume that is there, of each daemon in turn. */
async function measureWire(bench: Bench, bytes: number): Promise<readonly Measurement[]> {
  const socket = join(bench.daemon.root, 'run/libvirt/libvirt-sock');
  const directory = bench.place.make('storage-wire');
  const file = join(directory, 'file');
  writeFileSync(file, randomFillSync(Buffer.alloc(bytes)));
  const ours = await WirePool.open(['virsh', '-c', `qemu:///system?socket=${socket}`], directory, file);
  const words = bench.peer?.split(/\s+/).filter((word) => word !== '');
  const theirs = words && (await WirePool.open([...words, 'virsh'], directory, file));
  const [up, down] = [sides(), sides()];
  try {
    for (let round = 0; round < Math.min(10, bench.rounds); round += 1) {
      up.ours.push(await ours.upload());
      down.ours.push(await ours.download());
      if (theirs === undefined) continue;
      up.floor.push(await theirs.upload());
      down.floor.push(await theirs.download());
    }
  } finally {
    await ours.end();
    await theirs?.end();
    rmSync(directory, { recursive: true, force: true });
  }
  const row = (what: string, samples: Sides): Measurement =>
    theirs === undefined
      ? absolute(`virsh vol-${what} ${bytes / MIB} MiB`, 'ms', samples.ours)
      : compare(`virsh vol-${what} ${bytes / MIB} MiB / libvirtd`, 'ms', samples, WIRE_GOAL);
  return [row('upload', up), row('download', down)];
}

interface Sides {
  readonly ours: number[];
  readonly floor: number[];
}

const sides = (): Sides => ({ ours: [], floor: [] });

/** A pool with one volume, of either daemon, behind a virsh that times its commands. */
class WirePool {
  private readonly virsh: Teller;
  private readonly file: string;

  private constructor(virsh: Teller, file: string) {
    this.virsh = virsh;
    this.file = file;
  }

  static async open(virsh: readonly string[], directory: string, file: string): Promise<WirePool> {
    const pool = new WirePool(new Teller([...virsh, '--timing'], virshTime), file);
    const place = mkdtempSync(join(directory, 'pool-'));
    await pool.virsh.tell(`pool-create-as wire dir --target ${place}`);
    await pool.virsh.tell(`vol-create-as wire v ${statSync(file).size} --format raw --allocation 0`);
    await pool.upload();
    return pool;
  }

  upload(): Promise<number> {
    return this.virsh.tell(`vol-upload --pool wire v ${this.file}`);
  }

  download(): Promise<number> {
    return this.virsh.tell(`vol-download --pool wire v ${this.file}.back`);
  }

  async end(): Promise<void> {
    await this.virsh.tell('pool-destroy wire');
    await this.virsh.end();
  }
}

type Client = Awaited<ReturnType<typeof connectVireo>>;

async function upload(client: Client, file: string, length: number): Promise<void> {
  const handle = await open(file, 'r');
  try {
    const params = { pool: 'bench', volume: 'v', overwrite: true };
    await uploadVolume(client, { from: { handle, start: 0, length }, params });
  } finally {
    await handle.close();
  }
}

async function download(client: Client, file: string): Promise<void> {
  const handle = await open(file, 'w+');
  try {
    const to = { handle, start: 0 };
    await downloadVolume(client, { to, params: { pool: 'bench', volume: 'v' } });
    await handle.datasync();
  } finally {
    await handle.close();
  }
}

/** One process, no checksums: read, a unix socket, write, and all on disk. */
async function bareCopy(from: string, to: string): Promise<void> {
  const path = `${to}.sock`;
  const server = createServer();
  server.listen(path);
  await once(server, 'listening');
  const received = once(server, 'connection').then(([socket]) =>
    pipeline(socket, createWriteStream(to, { flush: true })),
  );
  await pipeline(createReadStream(from, { highWaterMark: MIB }), connect(path));
  await received;
  server.close();
}
