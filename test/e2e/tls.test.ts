/** qemu+tls:// with real certificates and an unmodified virsh: who comes in, and who does not (both ways). */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { execa } from 'execa';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { eventually, project, TestDaemon } from '../support/daemon.ts';
import { freePort } from '../support/free-port.ts';
import { describeWith } from '../support/needs.ts';

let root: string;
let port: number;
let tcpPort: number;
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

interface Said {
  readonly code: number | undefined;
  readonly output: string;
}

async function virshAt(uri: string, command: readonly string[], environment = {}): Promise<Said> {
  const { exitCode, all } = await execa('virsh', ['-q', '-c', uri, ...command], {
    all: true,
    reject: false,
    timeout: 60_000,
    stdin: 'ignore',
    extendEnv: false,
    env: { PATH: process.env['PATH'], HOME: root, LC_ALL: 'C', ...environment },
  });
  return { code: exitCode, output: all };
}

/** Without its own look at the certificates: it is the server that has to refuse. */
const virsh = (pki: string, ...command: string[]): Promise<Said> =>
  virshAt(`qemu+tls://127.0.0.1:${port}/system?pkipath=${pki}&no_sanity=1`, command);

/** As this user, with the password from a file, as libvirt's clients take it. */
function virshAs(name: string, password: string, ...command: string[]): Promise<Said> {
  const file = at(`auth-${name}-${password.length}.conf`);
  writeFileSync(
    file,
    `[credentials-me]\nauthname=${name}\npassword=${password}\n[auth-libvirt-127.0.0.1]\ncredentials=me\n`,
    { mode: 0o600 },
  );
  const uri = `qemu+tls://127.0.0.1:${port}/system?pkipath=${at('client-ann-ca')}&no_sanity=1`;
  return virshAt(uri, command, { LIBVIRT_AUTH_FILE: file });
}

function configure(more: string): void {
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
${more}`,
  );
}

const vireo = (args: readonly string[], input = '') =>
  execa(join(project, 'bin/vireo'), ['--root', root, ...args], { input, reject: false, all: true });

const refusals = () => daemon.stderr.join('').match(/refused a TLS client/g)?.length ?? 0;

/** What libvirt's clients need for SCRAM (Debian: libsasl2-modules). */
const scram = `/usr/lib/${process.arch === 'arm64' ? 'aarch64' : 'x86_64'}-linux-gnu/sasl2/libscram.so`;

describeWith(['root', 'virsh', 'openssl', scram], 'TLS', () => {
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
    configure('');
    daemon = await TestDaemon.start({ root });
  });

  afterAll(async () => {
    await daemon.remove();
    rmSync(root, { recursive: true, force: true });
  });

  it('serves a client whose certificate is signed and whose name is on the list', async () => {
    const { code, output } = await virsh(await client('ann'), 'list', '--all');
    expect({ code, output }).toEqual({ code: 0, output: '' });
    await expect.poll(() => daemon.stderr.join('')).toContain('CN=ann,O=Example');
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

  it('asks for a name and a password besides, where that is configured', async () => {
    await daemon.end();
    tcpPort = await freePort();
    configure(`tls_auth = "sasl"\ntcp_addresses = ["127.0.0.1"]\ntcp_port = ${tcpPort}\n`);
    daemon = await TestDaemon.start({ root });
    for (const [name, password, ...more] of [
      ['eve', 'correct horse'],
      ['max', 'battery staple', '--read-only'],
    ] as const) {
      const { exitCode, all } = await vireo(['host', 'sasl-user', 'set', name, ...more], password);
      expect({ exitCode, all }).toEqual({ exitCode: 0, all: `User ${name} has a password.` });
    }
    expect((await vireo(['host', 'sasl-user', 'list'])).stdout).toMatch(/eve +do everything\s+max +look/);
    const pool = ['pool-define-as', 'p', 'dir', '--target', at('pool')] as const;
    expect(await virshAs('max', 'battery staple', 'list', '--all')).toEqual({ code: 0, output: '' });
    const looking = await virshAs('max', 'battery staple', ...pool);
    expect(looking.code).toBe(1);
    expect(looking.output).toContain('read only access prevents virStoragePoolDefineXML');
    expect((await virshAs('eve', 'correct horse', ...pool)).code).toBe(0);
    await expect
      .poll(() => daemon.stderr.join(''))
      .toMatch(/"user":"eve","readOnly":false,"msg":"SASL lets a client in"/);
  });

  it('lets nobody in with another password, a name that is not there, or none', async () => {
    const refused = await Promise.all([
      virshAs('eve', 'wrong horse', 'list'),
      virshAs('ghost', 'correct horse', 'list'),
    ]);
    for (const { code, output } of refused) {
      expect(code).toBe(1);
      expect(output).toContain('authentication failed: authentication failed');
    }
    expect(
      (
        await virshAt(`qemu+tls://127.0.0.1:${port}/system?pkipath=${at('client-ann-ca')}&no_sanity=1`, [
          'list',
        ])
      ).code,
    ).toBe(1);
    await vireo(['host', 'sasl-user', 'remove', 'eve']);
    expect((await virshAs('eve', 'correct horse', 'list')).code).toBe(1);
  });

  it('is not needed on a port that nothing protects, of which the check of the host warns', async () => {
    const { code, output } = await virshAt(`qemu+tcp://127.0.0.1:${tcpPort}/system`, ['pool-list', '--all']);
    expect({ code, output }).toMatchObject({ code: 0 });
    const { all } = await vireo(['host', 'check']);
    expect(all).toContain(`whoever reaches 127.0.0.1:${tcpPort}`);
  });
});
