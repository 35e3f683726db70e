/** qemu+tls:// with real certificates and an unmodified virsh: who comes in, and who does not (both ways). */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { execa } from 'execa';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { eventually, TestDaemon } from '../support/daemon.ts';
import { describeWith } from '../support/needs.ts';

let root: string;
let port: number;
let daemon: TestDaemon;

const at = (path: string): string => join(root, path);
const openssl = (...args: string[]) => execa('openssl', args, { cwd: at('pki') });

async function authority(name: string): Promise<void> {
  const request = [
    'req',
    '-x509',
    '-newkey',
    'ec',
    '-pkeyopt',
    'ec_paramgen_curve:P-256',
    '-nodes',
    '-days',
    '2',
  ];
  await openssl(...request, '-keyout', `${name}.key`, '-out', `${name}.pem`, '-subj', `/CN=${name}`);
}

interface CertificateWish {
  readonly ca?: string;
  readonly usage?: 'clientAuth' | 'serverAuth';
  /** Days from now. */
  readonly ends?: number;
}

/** A certificate and its key, as NAME.pem and NAME.key. */
async function certificate(name: string, wish: CertificateWish = {}): Promise<void> {
  const { ca = 'ca', usage = 'clientAuth', ends = 1 } = wish;
  const request = ['req', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes'];
  await openssl(
    ...request,
    '-keyout',
    `${name}.key`,
    '-out',
    `${name}.csr`,
    '-subj',
    `/O=Example/CN=${name}`,
  );
  writeFileSync(
    at(`pki/${name}.ext`),
    `extendedKeyUsage=${usage}\nkeyUsage=digitalSignature,keyEncipherment\nsubjectAltName=IP:127.0.0.1\n`,
  );
  const signed = [
    'x509',
    '-req',
    '-in',
    `${name}.csr`,
    '-CA',
    `${ca}.pem`,
    '-CAkey',
    `${ca}.key`,
    '-CAcreateserial',
  ];
  await openssl(...signed, '-extfile', `${name}.ext`, '-days', String(ends), '-out', `${name}.pem`);
}

/** A directory as clients have it. */
async function client(name: string, trusts = 'ca'): Promise<string> {
  const directory = at(`client-${name}-${trusts}`);
  mkdirSync(directory);
  for (const [from, to] of [
    [`${trusts}.pem`, 'cacert.pem'],
    [`${name}.pem`, 'clientcert.pem'],
    [`${name}.key`, 'clientkey.pem'],
  ] as const)
    await execa('cp', [at(`pki/${from}`), join(directory, to)]);
  return directory;
}

async function virsh(
  pki: string,
  ...command: string[]
): Promise<{ code: number | undefined; output: string }> {
  // Without its own look at the certificates: it is the server that has to refuse.
  const uri = `qemu+tls://127.0.0.1:${port}/system?pkipath=${pki}&no_sanity=1`;
  const { exitCode, all } = await execa('virsh', ['-q', '-c', uri, ...command], {
    all: true,
    reject: false,
    timeout: 20_000,
    extendEnv: false,
    env: { PATH: process.env['PATH'], HOME: root },
  });
  return { code: exitCode, output: all };
}

const refusals = () => daemon.stderr.join('').match(/refused a TLS client/g)?.length ?? 0;

function freePort(): Promise<number> {
  return new Promise((done) => {
    const server = createServer();
    server.listen(0, '127.0.0.1', () => {
      const address = server.address();
      server.close(() => done(typeof address === 'object' && address !== null ? address.port : 0));
    });
  });
}

describeWith(['root', 'virsh', 'openssl'], 'TLS', () => {
  beforeAll(async () => {
    root = mkdtempSync(join(tmpdir(), 'vt-'));
    mkdirSync(at('pki'));
    for (const ca of ['ca', 'stranger']) await authority(ca);
    await certificate('server', { usage: 'serverAuth' });
    await certificate('ann');
    await certificate('ben');
    await certificate('late', { ends: -1 });
    await certificate('other', { ca: 'stranger' });
    port = await freePort();
    mkdirSync(at('etc/vireo'), { recursive: true });
    writeFileSync(
      at('etc/vireo/vireod.toml'),
      `[network]
define_default = false
[libvirt]
tls_addresses = ["127.0.0.1"]
tls_port = ${port}
tls_allowed_names = ["CN=ann,O=*", "CN=late,O=*", "CN=other,O=*", "CN=server,O=*"]
tls_ca = "${at('pki/ca.pem')}"
tls_cert = "${at('pki/server.pem')}"
tls_key = "${at('pki/server.key')}"
`,
    );
    daemon = await TestDaemon.start({ root });
  });

  afterAll(async () => {
    await daemon.remove();
    rmSync(root, { recursive: true, force: true });
  });

  it('serves a client whose certificate is signed and whose name is on the list', async () => {
    const { code, output } = await virsh(await client('ann'), 'list', '--all');
    expect({ code, output }).toEqual({ code: 0, output: '' });
    expect(daemon.stderr.join('')).toContain('CN=ann,O=Example');
  });

  it.each([
    ['ben', 'a name that is not on the list'],
    ['late', 'a certificate that has ended'],
    ['other', 'a certificate of another authority'],
    ['server', 'a certificate for servers'],
  ])('refuses %s: %s', async (name) => {
    const before = refusals();
    const { code, output } = await virsh(await client(name), 'list');
    expect(code).not.toBe(0);
    expect(output).toContain('error: failed to connect');
    await eventually('the daemon tells', () => refusals() > before);
  });

  it('is refused itself by a client that trusts another authority', async () => {
    const { code, output } = await virsh(await client('ann', 'stranger'), 'list');
    expect(code).not.toBe(0);
    expect(output).toMatch(/certificate/i);
  });

  it('says nothing to whoever has no certificate', async () => {
    const { stdout } = await execa(
      'openssl',
      ['s_client', '-connect', `127.0.0.1:${port}`, '-quiet', '-no_ign_eof'],
      { reject: false, input: '\0\0\0\x1c', timeout: 10_000 },
    );
    expect(stdout).toBe('');
  });

  it('goes on serving after all of these', async () => {
    expect((await virsh(at('client-ann-ca'), 'uri')).code).toBe(0);
  });
});
