/**
 * Which guest has which device of the host: one small file for each, written before the host is touched, so that a
 * daemon that was killed at any moment finds what has to be given back.
 */
import { readdirSync, readFileSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import * as z from 'zod';
import { errnoOf, VirtError } from '../../base/errors.ts';
import { ensureDirectory, writeAtomic } from '../../base/files.ts';
import type { Logger } from '../../base/log.ts';

const claimShape = z.strictObject({
  version: z.literal(1),
  /** `pci 0000:01:00.0`, `usb 1-2`, `mdev UUID`, `scsi 2:0:0:1`, `vhost-scsi WWPN`. */
  device: z.string().regex(/^(pci|usb|mdev|scsi|vhost-scsi) [0-9A-Za-z:.-]{1,64}$/),
  /** Other guests may have it as well, if they say so too. */
  isShared: z.boolean().optional(),
  domainUuid: z.string(),
  domainName: z.string(),
  /** IOMMU group. */
  group: z.string().regex(/^\d+$/).optional(),
  /** The device was moved to vfio-pci by us, and goes back. */
  isMoved: z.boolean(),
  /** What was set of a virtual function before, by the interface of its physical function. */
  function: z
    .strictObject({
      link: z.string().max(64),
      number: z.int().min(0),
      mac: z.string().regex(/^[0-9a-f]{2}(:[0-9a-f]{2}){5}$/),
      vlan: z.int(),
      qos: z.int(),
    })
    .optional(),
  /** This user was let in at this node. */
  node: z
    .string()
    .regex(/^\/dev\/(vfio\/|sg)\d+$/)
    .optional(),
  uid: z.int().optional(),
});
export type Claim = Readonly<z.infer<typeof claimShape>>;

export class ClaimStore {
  private readonly directory: string;
  private readonly log: Logger;

  constructor(parts: { readonly directory: string; readonly log: Logger }) {
    this.directory = parts.directory;
    this.log = parts.log;
  }

  /** All claims. A file that cannot be read is told in the log and passed over. */
  list(): Claim[] {
    return namesIn(this.directory)
      .filter((name) => name.endsWith('.json'))
      .map((name) => this.read(name))
      .filter((claim) => claim !== undefined);
  }

  /** @throws VirtError host-device.in-use with the name of the guest that has it, or another device of its group */
  async add(claim: Claim, wanted: string): Promise<void> {
    const others = this.list().filter(({ domainUuid }) => domainUuid !== claim.domainUuid);
    const holder = others.find(
      (other) =>
        (other.device === claim.device && !(other.isShared && claim.isShared)) ||
        (claim.group !== undefined && other.group === claim.group),
    );
    if (holder !== undefined)
      throw new VirtError('host-device.in-use', {
        wanted,
        reason:
          holder.device === claim.device
            ? `device ${claim.device} is in use by domain '${holder.domainName}'`
            : `device ${claim.device} shares IOMMU group ${claim.group} with ${holder.device}, which is in use by domain '${holder.domainName}'`,
        hint: `stop '${holder.domainName}' first`,
      });
    await ensureDirectory(this.directory, 0o700);
    await writeAtomic(this.pathOf(claim), `${JSON.stringify(claim)}\n`);
  }

  async remove(claim: Claim): Promise<void> {
    await rm(this.pathOf(claim), { force: true });
  }

  /** Of a shared device each guest has a note of its own. */
  private pathOf({ device, isShared, domainUuid }: Claim): string {
    const owner = isShared ? `-${domainUuid}` : '';
    return join(this.directory, `${device.replace(' ', '-')}${owner}.json`);
  }

  private read(name: string): Claim | undefined {
    try {
      return claimShape.parse(JSON.parse(readFileSync(join(this.directory, name), 'utf8')));
    } catch (error) {
      if (errnoOf(error) !== 'ENOENT')
        this.log.error({ err: error, file: name }, 'a note of a host device cannot be read');
      return undefined;
    }
  }
}

function namesIn(directory: string): string[] {
  try {
    return readdirSync(directory);
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return [];
    throw error;
  }
}
