/** Certificates for NBD over TLS, under the names that QEMU reads (QEMU docs/system/tls.rst). */
import { execFileSync } from 'node:child_process';
import { copyFileSync, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

const KEY = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes'];

/**
 * Makes `server`, `client` and `stranger` below the directory: a server's certificate for 127.0.0.1, a client's of the same
 * authority, and the authority's alone.
 */
export function makeNbdCertificates(directory: string): void {
  for (const who of ['server', 'client', 'stranger'])
    mkdirSync(join(directory, who), { recursive: true, mode: 0o700 });
  const openssl = (...args: string[]) => execFileSync('openssl', args, { cwd: directory, stdio: 'pipe' });
  const authority = ['-keyout', 'ca.key', '-out', 'ca.pem', '-subj', '/CN=authority'];
  openssl('req', '-x509', ...KEY, '-days', '2', ...authority, '-addext', 'keyUsage=critical,keyCertSign');
  for (const who of ['server', 'client', 'stranger'])
    copyFileSync(join(directory, 'ca.pem'), join(directory, who, 'ca-cert.pem'));
  for (const who of ['server', 'client']) {
    const usage = `extendedKeyUsage=${who}Auth\nkeyUsage=digitalSignature,keyEncipherment\n`;
    writeFileSync(join(directory, 'usage'), `${usage}subjectAltName=IP:127.0.0.1\n`);
    openssl('req', ...KEY, '-keyout', `${who}/${who}-key.pem`, '-out', 'request', '-subj', `/CN=${who}`);
    const signed = [
      '-CA',
      'ca.pem',
      '-CAkey',
      'ca.key',
      '-CAcreateserial',
      '-days',
      '2',
      '-extfile',
      'usage',
    ];
    openssl('x509', '-req', '-in', 'request', ...signed, '-out', `${who}/${who}-cert.pem`);
  }
}
