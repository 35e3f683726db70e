/** Making and copying images, against the programs that do the same: qemu-img create, and cp. */
import { execFileSync } from 'node:child_process';
import { randomFillSync } from 'node:crypto';
import { closeSync, fdatasyncSync, ftruncateSync, openSync, rmSync, writeSync } from 'node:fs';
import { open } from 'node:fs/promises';
import { join } from 'node:path';
import { copyToFile } from '../../src/storage/images/copy.ts';
import { createQcow2 } from '../../src/storage/images/create-qcow2.ts';
import { compare, type Measurement } from '../result.ts';
import { timeMs } from '../statistics.ts';
import type { Bench } from './bench.ts';

const MIB = 1024 * 1024;
const GIB = 1024 * MIB;

export async function measureStorageImages(bench: Bench): Promise<readonly Measurement[]> {
  const directory = bench.place.make('storage-images');
  const rows = [await measureCreate(bench, directory)];
  const bytes = bench.isQuick ? 128 * MIB : 512 * MIB;
  for (const [name, every] of [
    ['full', 1],
    ['sparse, one MiB in 16', 16],
  ] as const)
    rows.push(await measureCopy(bench, directory, { name, every, bytes }));
  return rows;
}

async function measureCreate(bench: Bench, directory: string): Promise<Measurement> {
  const path = join(directory, 'image.qcow2');
  const samples = { ours: [] as number[], floor: [] as number[] };
  await createQcow2(path, { capacityBytes: GIB }); // compiles what is measured
  rmSync(path);
  for (let round = 0; round < bench.rounds; round += 1) {
    samples.ours.push(await timeMs(() => createQcow2(path, { capacityBytes: GIB })));
    rmSync(path);
    const args = ['create', '-q', '-f', 'qcow2', path, '1G'];
    samples.floor.push(await timeMs(() => execFileSync('qemu-img', args)));
    rmSync(path);
  }
  return compare('create a qcow2 image / qemu-img create', 'ms', samples, 0.2);
}

async function measureCopy(
  bench: Bench,
  directory: string,
  source: { readonly name: string; readonly every: number; readonly bytes: number },
): Promise<Measurement> {
  const [from, to] = [join(directory, 'from'), join(directory, 'to')];
  writePatches(from, source.bytes, source.every);
  const samples = { ours: [] as number[], floor: [] as number[] };
  for (let round = 0; round < Math.min(5, bench.rounds); round += 1) {
    samples.ours.push(await timeMs(() => copy(from, to)));
    rmSync(to);
    samples.floor.push(await timeMs(() => copyByProgram(from, to)));
    rmSync(to);
  }
  rmSync(from);
  return compare(`copy ${source.bytes / MIB} MiB, ${source.name} / cp and fdatasync`, 'ms', samples, 1.3);
}

async function copy(from: string, to: string): Promise<void> {
  const handle = await open(from);
  try {
    await copyToFile(handle, to);
  } finally {
    await handle.close();
  }
}

function copyByProgram(from: string, to: string): void {
  execFileSync('cp', ['--sparse=auto', from, to]);
  const fd = openSync(to, 'r+');
  fdatasyncSync(fd);
  closeSync(fd);
}

function writePatches(path: string, bytes: number, every: number): void {
  const chunk = randomFillSync(Buffer.alloc(MIB));
  const fd = openSync(path, 'w');
  ftruncateSync(fd, bytes);
  for (let at = 0; at < bytes; at += every * MIB) writeSync(fd, chunk, 0, chunk.length, at);
  closeSync(fd);
}
