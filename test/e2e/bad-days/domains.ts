/** Definitions and small helpers that the bad-days tests share. */
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import type { VireoClient } from '../../../src/api/client.ts';
import type { EventNotification } from '../../../src/api/events.ts';
import type { TestDaemon } from '../../support/daemon.ts';

interface Parts {
  /** Elements of the domain. */
  readonly domain?: string;
  /** Elements of its devices. */
  readonly devices?: string;
}

/** A machine without anything to boot: SeaBIOS waits for ever. */
export function idleXml(name: string, parts: Parts = {}): string {
  return `<domain type='qemu'><name>${name}</name><memory unit='MiB'>16</memory>
  <os><type machine='pc'>hvm</type></os>${parts.domain ?? ''}<devices>${parts.devices ?? ''}</devices></domain>`;
}

/** A disk of raw bytes to boot from. */
export const diskXml = (path: string) =>
  `<disk type='file' device='disk'><driver name='qemu' type='raw'/><source file='${path}'/><target dev='hda' bus='ide'/></disk>`;

/** What a guest may leave behind below the root: directories and status files. */
export function leftovers(root: string): string[] {
  return ['run/vireo/g', 'run/vireo/status'].flatMap((directory) =>
    readdirSync(join(root, directory)).map((name) => join(directory, name)),
  );
}

/** The daemon's log so far, one object for each line. */
export function logLines(daemon: TestDaemon): Record<string, unknown>[] {
  return daemon.stderr
    .join('')
    .split('\n')
    .filter((line) => line.startsWith('{'))
    .map((line) => JSON.parse(line) as Record<string, unknown>);
}

/** Collects events from now on. */
export async function collect(client: VireoClient): Promise<EventNotification[]> {
  const events = await client.subscribe({});
  const seen: EventNotification[] = [];
  void (async () => {
    for await (const event of events) seen.push(event);
  })().catch(() => undefined); // It ends with its connection.
  return seen;
}
