/**
 * What of a network is on the host, on /run: written before acting, so that a daemon killed at any moment can take
 * back or go on. One file a network, and one for the host's settings that were changed.
 */
import { createHash } from 'node:crypto';
import { readdir, unlink } from 'node:fs/promises';
import { join } from 'node:path';
import * as z from 'zod';
import { errnoOf, fileError, isVirtError, reasonOf } from '../base/errors.ts';
import { ensureDirectory, readText, writeAtomic } from '../base/files.ts';
import type { Logger } from '../base/log.ts';
import type { FirewallBackendName, NetworkPlan } from './plan.ts';

const FORMAT = 1;
const MAX_BYTES = 16 * 1024 * 1024;

export interface NetworkRecord {
  readonly plan: NetworkPlan;
  readonly backend: FirewallBackendName | undefined;
}

/** The plan is trusted because its digest shows that it is what we wrote. */
const recordFile = z.strictObject({
  format: z.literal(FORMAT),
  backend: z.enum(['nftables', 'iptables', 'none']).optional(),
  digest: z.string(),
  plan: z.string(),
});

/** Where settings of the host are kept as they were before networks changed them. */
export const hostSettingsPath = (directory: string): string => join(directory, 'host-settings.json');

export const settingsFile = z.strictObject({
  format: z.literal(FORMAT),
  /** Kernel settings (below /proc/sys/net) with the value they had. */
  before: z.record(z.string(), z.string()),
});

const digestOf = (text: string): string => createHash('sha256').update(text).digest('hex');

export class HostState {
  private readonly directory: string;
  private readonly log: Logger;

  constructor(directory: string, log: Logger) {
    this.directory = directory;
    this.log = log;
  }

  private path(uuid: string): string {
    return join(this.directory, `${uuid}.json`);
  }

  private get settingsPath(): string {
    return hostSettingsPath(this.directory);
  }

  async write({ plan, backend }: NetworkRecord): Promise<void> {
    await ensureDirectory(this.directory, 0o700);
    const text = JSON.stringify(plan);
    const file = { format: FORMAT, backend, digest: digestOf(text), plan: text };
    await writeAtomic(this.path(plan.uuid), `${JSON.stringify(file)}\n`);
  }

  /** Undefined when there is none; one that can't be read counts as none, and the log says so. */
  async read(uuid: string): Promise<NetworkRecord | undefined> {
    const file = await this.readFile(this.path(uuid), recordFile);
    if (file === undefined || digestOf(file.plan) !== file.digest) return undefined;
    return { plan: JSON.parse(file.plan) as NetworkPlan, backend: file.backend };
  }

  async remove(uuid: string): Promise<void> {
    await removeFile(this.path(uuid));
  }

  /** Every network that is on the host. */
  async all(): Promise<NetworkRecord[]> {
    const names = await readdir(this.directory).catch((error: unknown) => {
      if (errnoOf(error) === 'ENOENT') return [];
      throw fileError(error, 'list the networks on this host', this.directory);
    });
    const uuids = names.flatMap((name) => /^([0-9a-f-]{36})\.json$/.exec(name)?.[1] ?? []);
    const records = await Promise.all(uuids.map((uuid) => this.read(uuid)));
    return records.filter((record) => record !== undefined);
  }

  /** The host's settings before we changed them. */
  async readSettings(): Promise<Readonly<Record<string, string>>> {
    return (await this.readFile(this.settingsPath, settingsFile))?.before ?? {};
  }

  async writeSettings(before: Readonly<Record<string, string>>): Promise<void> {
    if (Object.keys(before).length === 0) return removeFile(this.settingsPath);
    await ensureDirectory(this.directory, 0o700);
    await writeAtomic(this.settingsPath, `${JSON.stringify({ format: FORMAT, before })}\n`);
  }

  private async readFile<Shape>(path: string, schema: z.ZodType<Shape>): Promise<Shape | undefined> {
    try {
      return schema.parse(JSON.parse(await readText(path, MAX_BYTES)));
    } catch (error) {
      if (!isVirtError(error, 'file.not-found'))
        this.log.warn({ path, reason: reasonOf(error) }, 'a status file of the networks cannot be read');
      return undefined;
    }
  }
}

async function removeFile(path: string): Promise<void> {
  try {
    await unlink(path);
  } catch (error) {
    if (errnoOf(error) !== 'ENOENT') throw fileError(error, 'remove a file', path);
  }
}
