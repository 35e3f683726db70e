/** Where dnsmasq's files of a network lie, and how they are written and removed. */
import { unlink } from 'node:fs/promises';
import { join } from 'node:path';
import { errnoOf, fileError, isVirtError } from '../../base/errors.ts';
import { readText, writeAtomic } from '../../base/files.ts';
import type { NetworkPlan } from '../plan.ts';
import type { DnsmasqFiles } from './config.ts';
import { MAX_LEASE_FILE_BYTES } from './leases.ts';

/** The files of a network, by its name where that can be a file name, else by its uuid. */
export function dnsmasqFiles(plan: NetworkPlan, directory: string, runtimeDirectory: string): DnsmasqFiles {
  const isPlain = /^[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}$/.test(plan.name);
  const base = isPlain ? plan.name : plan.uuid;
  return {
    config: join(directory, `${base}.conf`),
    hosts: join(directory, `${base}.hostsfile`),
    names: join(directory, `${base}.addnhosts`),
    leases: join(directory, `${base}.leases`),
    pid: join(runtimeDirectory, `${base}.pid`),
    isShared: true,
  };
}

/** Writes the file unless it has that text already; true when it was written. */
export async function writeIfChanged(path: string, text: string, mode: number): Promise<boolean> {
  if ((await textIfPresent(path)) === text) return false;
  await writeAtomic(path, text, { mode });
  return true;
}

async function textIfPresent(path: string): Promise<string | undefined> {
  try {
    return await readText(path, MAX_LEASE_FILE_BYTES);
  } catch (error) {
    if (isVirtError(error, 'file.not-found')) return undefined;
    throw error;
  }
}

export async function removeFile(path: string): Promise<void> {
  try {
    await unlink(path);
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return;
    throw fileError(error, 'remove a file', path);
  }
}
