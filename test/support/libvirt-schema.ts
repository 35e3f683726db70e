/** libvirt's RELAX NG schema for domains (Debian package libvirt0 has it) against what we print. */
import { spawnSync } from 'node:child_process';

export const schema = '/usr/share/libvirt/schemas/domain.rng';

/** `rules` is the schema to hold it against, that of domains when left out. @throws Error with xmllint's findings and the document */
export function expectSchemaValid(xml: string, rules: string = schema): void {
  const { status, stderr } = spawnSync('xmllint', ['--noout', '--relaxng', rules, '-'], {
    input: xml,
    encoding: 'utf8',
  });
  if (status !== 0) throw new Error(`not valid for ${rules}:\n${stderr}\n${xml}`);
}
