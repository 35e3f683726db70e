/** In libvirtd's place: pid files and logs of guests also where people, and their scripts, look for libvirt's. */
import { lstatSync, readlinkSync, symlinkSync, unlinkSync } from 'node:fs';
import { unlink } from 'node:fs/promises';
import { join } from 'node:path';
import type { PublishedEvent } from '../../api/index.ts';
import { errnoOf, reasonOf } from '../../base/errors.ts';
import { ensureDirectory, writeAtomic } from '../../base/files.ts';
import type { Logger } from '../../base/log.ts';
import type { Domain } from './domain.ts';

export interface LibvirtTraceOptions {
  /** run/libvirt/qemu: NAME.pid. No NAME.xml: a libvirtd that finds one takes the guest for its own. */
  readonly runDirectory: string;
  /** log/libvirt/qemu: NAME.log, a link to ours. */
  readonly logDirectory: string;
  /** Where our log of a guest is. */
  readonly logOf: (domain: Domain) => string | undefined;
  readonly domains: {
    list(filter: { readonly active: boolean }): readonly Domain[];
    hasUuid(uuid: string): boolean;
    find(ref: { readonly uuid: string }): Domain;
  };
  readonly subscribe: (listener: (event: PublishedEvent) => void) => () => void;
  readonly log: Logger;
}

/** Leaves files for the guests that run, and for each that starts. Failures are logged: no guest depends on them. */
export async function leaveTraces(options: LibvirtTraceOptions): Promise<() => void> {
  await ensureDirectory(options.runDirectory, 0o755);
  await ensureDirectory(options.logDirectory, 0o711);
  for (const domain of options.domains.list({ active: true })) note(options, domain);
  return options.subscribe((event) => {
    if (event.event === 'domain.started' && options.domains.hasUuid(event.domain.uuid))
      note(options, options.domains.find({ uuid: event.domain.uuid }));
    if (event.event === 'domain.stopped') forget(options, event.domain.name);
  });
}

function note(options: LibvirtTraceOptions, domain: Domain): void {
  const pid = domain.live?.guest.record.pid;
  if (pid === undefined) return;
  const path = join(options.runDirectory, `${domain.name}.pid`);
  attempt(options, domain.name, writeAtomic(path, `${pid}\n`, { mode: 0o644 }));
  const target = options.logOf(domain);
  if (target !== undefined)
    attempt(options, domain.name, link(join(options.logDirectory, `${domain.name}.log`), target));
}

/** A log that libvirtd wrote stays what it is. */
async function link(path: string, target: string): Promise<void> {
  const found = lstatSync(path, { throwIfNoEntry: false });
  if (found?.isSymbolicLink() === false) throw new Error(`${path} is a file of libvirtd's and stays`);
  if (found !== undefined && readlinkSync(path) === target) return;
  if (found !== undefined) unlinkSync(path);
  symlinkSync(target, path);
}

/** The next guest of that name may have started already: its file is not the one to remove. */
function forget(options: LibvirtTraceOptions, name: string): void {
  const running = options.domains.list({ active: true }).find((domain) => domain.name === name);
  if (running === undefined) attempt(options, name, remove(join(options.runDirectory, `${name}.pid`)));
}

async function remove(path: string): Promise<void> {
  await unlink(path).catch((error: unknown) => {
    if (errnoOf(error) !== 'ENOENT') throw error;
  });
}

function attempt({ log }: LibvirtTraceOptions, domain: string, work: Promise<void>): void {
  work.catch((error: unknown) =>
    log.warn({ domain, reason: reasonOf(error) }, "a file in libvirt's places could not be made"),
  );
}
