/** libvirt's RELAX NG schema for domains (Debian package libvirt0 has it) against what we print. */
import { spawnSync } from 'node:child_process';

export const schema = '/usr/share/libvirt/schemas/domain.rng';

/** @throws Error with xmllint's findings and the document */
export function expectSchemaValid(xml: string): void {
  const { status, stderr } = spawnSync('xmllint', ['--noout', '--relaxng', schema, '-'], {
    input: xml,
    encoding: 'utf8',
  });
  if (status !== 0) throw new Error(`not valid for ${schema}:\n${stderr}\n${xml}`);
}
