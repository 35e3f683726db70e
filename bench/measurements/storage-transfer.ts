/** Upload and download through the daemon, against a bare copy between a socket and a file. */

import { randomFillSync } from 'node:crypto';
import { once } from 'node:events';
import { createReadStream, createWriteStream, rmSync, writeFileSync } from 'node:fs';
import { open } from 'node:fs/promises';
import { connect, createServer } from 'node:net';
import { join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { connectVireo } from '../../src/api/client.ts';
import { downloadVolume, uploadVolume } from '../../src/api/volume-streams.ts';
import { compare, type Measurement } from '../result.ts';
import { timeMs } from '../statistics.ts';
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
  return [compare(`upload ${name}`, 'ms', up, 4), compare(`download ${name}`, 'ms', down, 5)];
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
