/**
 * Checking documents as clients ask with a "validate" flag: against libvirt's own RELAX NG schemas where they and
 * xmllint are installed, else by our mapping, in which what is not known is an error.
 */
import { existsSync } from 'node:fs';
import { isVirtError } from '../../../../base/errors.ts';
import { findProgram, run } from '../../../../base/exec.ts';
import { parseXml } from '../../../../base/xml/parse.ts';
import { errorDomain, errorNumber, LibvirtError } from '../../../../libvirt/errors.ts';
import { parseBackup } from '../../../../model/backup/backup.ts';
import { parseCheckpoint } from '../../../../model/checkpoint/checkpoint.ts';
import { parseDomain } from '../../../../model/domain/domain.ts';
import { parseNetwork } from '../../../../model/network/network.ts';
import { parseMdev } from '../../../../model/node-device/mdev-definition.ts';
import { parseSnapshot } from '../../../../model/snapshot/snapshot.ts';

const DIRECTORY = '/usr/share/libvirt/schemas';
const TIMEOUT_MS = 10_000;
/** xmllint(1): the document does not fit, or could not be read. */
const INVALID_STATUS = 3;

const strictly = {
  domain: (xml: string) => parseDomain(xml, { mode: 'strict' }),
  domainbackup: (xml: string) => parseBackup(xml, { mode: 'strict' }),
  domaincheckpoint: (xml: string) => parseCheckpoint(xml, { mode: 'strict' }),
  domainsnapshot: (xml: string) => parseSnapshot(xml, { mode: 'strict' }),
  network: (xml: string) => parseNetwork(xml, { mode: 'strict' }),
  nodedev: (xml: string) => parseMdev(xml, { mode: 'strict' }),
} as const;

export type SchemaName = keyof typeof strictly;

/** @throws LibvirtError invalid schema; VirtError xml.* without schemas */
export async function validate(name: SchemaName, xml: string): Promise<void> {
  parseXml(xml); // refuses what is not well-formed, and declarations of entities
  const schema = `${DIRECTORY}/${name}.rng`;
  const xmllint = existsSync(schema) ? await findProgram('xmllint') : undefined;
  if (xmllint === undefined) {
    strictly[name](xml);
    return;
  }
  try {
    // The network is never asked, and no entity is put in: the document is a stranger's.
    await run(xmllint, ['--nonet', '--noout', '--relaxng', schema, '-'], {
      timeoutMs: TIMEOUT_MS,
      input: xml,
    });
  } catch (error) {
    if (!isVirtError(error, 'program.failed') || error.details?.['exitCode'] !== INVALID_STATUS) throw error;
    const { stderr } = error.details;
    const said = firstComplaint(typeof stderr === 'string' ? stderr : '');
    throw new LibvirtError(
      errorNumber.xmlInvalidSchema,
      `Unable to validate doc against ${schema}\n${said}`,
      errorDomain.none,
    );
  }
}

/** `-:1: element x: Relax-NG validity error : Element domain has extra content: x` */
function firstComplaint(stderr: string): string {
  const lines = stderr.split('\n').map((line) => /validity error : (.*)$/.exec(line)?.[1] ?? '');
  return lines.find((line) => line !== '') ?? 'the document does not fit';
}
