/** Taking over a host of libvirtd: from what a libvirtd 9.0 wrote (test/e2e/adopt-libvirt), with what tests add to it. */
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import {
  cpSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import type { VireoClient } from '../../src/api/client.ts';
import { encodeHead } from '../../src/model/saved-state/image.ts';
import { TestDaemon } from '../support/daemon.ts';
import { describeWith } from '../support/needs.ts';

const recorded = join(import.meta.dirname, 'adopt-libvirt');
const uuidOfWeb = '6d9b5e7c-1c1e-4a53-9a3e-0f6a6c1a0001';

let root: string;
let daemon: TestDaemon;
let client: VireoClient;
let other: ChildProcess | undefined;

const at = (path: string): string => join(root, path);

function write(path: string, content: string): void {
  mkdirSync(join(at(path), '..'), { recursive: true });
  writeFileSync(at(path), content);
}

/** Every file below libvirt's directories with its content. */
function everythingOfLibvirt(): Record<string, string> {
  const found: Record<string, string> = {};
  for (const directory of ['etc/libvirt', 'var/lib/libvirt/qemu', 'var/lib/libvirt/swtpm'])
    for (const entry of readdirSync(at(directory), { recursive: true, withFileTypes: true })) {
      const path = join(entry.parentPath, entry.name);
      if (entry.isSymbolicLink()) found[path] = `-> ${readlinkSync(path)}`;
      if (entry.isFile()) found[path] = readFileSync(path, 'utf8');
    }
  return found;
}

async function adopt(dryRun = false): Promise<Map<string, { outcome: string; detail: string | null }>> {
  const { objects } = await client.call('daemon.adopt-libvirt', { dryRun });
  return new Map(objects.map(({ kind, name, ...rest }) => [`${kind} ${name}`, rest]));
}

const outcomes = (report: Awaited<ReturnType<typeof adopt>>) =>
  Object.fromEntries([...report].map(([name, { outcome }]) => [name, outcome]));

describeWith(['root', 'qemu-system-x86_64', 'qemu-img', 'virsh'], 'taking over from libvirtd', () => {
  beforeEach(async () => {
    root = mkdtempSync(join(tmpdir(), 'va-'));
    cpSync(recorded, root, { recursive: true, verbatimSymlinks: true });
    // What libvirtd leaves when the memory of a guest is saved; what is in it is not read.
    write('var/lib/libvirt/qemu/save/saved.save', 'LibvirtQemudSave');
    // A guest with firmware and a TPM.
    const web = readFileSync(at('etc/libvirt/qemu/web.xml'), 'utf8');
    const efi = web
      .replaceAll('web', 'efi')
      .replace(/0001</, '0005<')
      .replace('52:54:00:11:22:33', '52:54:00:11:22:35')
      .replace(
        '</type>',
        `</type><loader readonly='yes' type='pflash'>/usr/share/OVMF/OVMF_CODE_4M.fd</loader><nvram>/var/lib/libvirt/qemu/nvram/efi_VARS.fd</nvram>`,
      )
      .replace('</devices>', `<tpm model='tpm-crb'><backend type='emulator' version='2.0'/></tpm></devices>`);
    write('etc/libvirt/qemu/efi.xml', efi);
    write('var/lib/libvirt/qemu/nvram/efi_VARS.fd', 'variables of efi');
    write('var/lib/libvirt/swtpm/6d9b5e7c-1c1e-4a53-9a3e-0f6a6c1a0005/tpm2/tpm2-00.permall', 'sealed');
    write('etc/libvirt/qemu/broken.xml', '<domain type="qemu"><name>broken</name>');
    daemon = await TestDaemon.start({ root });
    client = await daemon.connect();
  });

  afterEach(async () => {
    other?.kill('SIGKILL');
    other = undefined;
    await client.close();
    await daemon.remove();
  });

  it('takes over what it can, names what it cannot and why, and changes nothing there', async () => {
    const before = everythingOfLibvirt();
    const planned = outcomes(await adopt(true));
    expect((await client.call('domain.list', {})).domains).toEqual([]);
    const report = await adopt();
    expect(outcomes(report)).toEqual({
      'network default': 'adopted',
      'network lab': 'adopted',
      'nwfilter clean-traffic': 'adopted',
      'nwfilter house': 'adopted',
      'pool isos': 'adopted',
      'secret 6d9b5e7c-1c1e-4a53-9a3e-0f6a6c1a0021': 'adopted',
      'secret 6d9b5e7c-1c1e-4a53-9a3e-0f6a6c1a0022': 'adopted',
      'domain broken': 'refused',
      'domain efi': 'adopted',
      'domain saved': 'adopted',
      'managed-save saved': 'refused',
      'domain web': 'adopted',
      'snapshot web/clean': 'adopted',
      'checkpoint web/a': 'adopted',
      'checkpoint web/b': 'adopted',
    });
    const { checkpoints } = await client.call('checkpoint.list', { domain: 'web' });
    expect(checkpoints.map(({ name, parent }) => [name, parent])).toEqual([
      ['a', null],
      ['b', 'a'],
    ]);
    expect(planned).toEqual(outcomes(report));
    expect(report.get('managed-save saved')?.detail).toContain('as after a power cut');
    const { domains } = await client.call('domain.list', {});
    expect(domains.map(({ name, autostart }) => ({ name, autostart }))).toEqual([
      { name: 'efi', autostart: false },
      { name: 'saved', autostart: false },
      { name: 'web', autostart: true },
    ]);
    const { networks } = await client.call('network.list', {});
    expect(networks.find(({ name }) => name === 'lab')).toMatchObject({ autostart: true, bridge: 'virbr77' });
    const { xml } = await client.call('domain.xml', { domain: 'web' });
    expect(xml).toContain(`<uuid>${uuidOfWeb}</uuid>`);
    expect(xml).toContain('52:54:00:11:22:33');
    expect(everythingOfLibvirt()).toEqual(before);
  });

  it('takes over pools with their autostart marks, secrets with their values, and filters that are not the built-in ones', async () => {
    write('run/libvirt/storage/isos.xml', '<poolstate/>');
    const report = await adopt();
    expect(report.get('pool isos')?.detail).toContain('vireo pool start isos');
    const { pools } = await client.call('pool.list', {});
    expect(pools.find(({ name }) => name === 'isos')).toMatchObject({
      uuid: '181d9689-a235-4251-a30f-e329d78638d7',
      autostart: true,
      active: false,
    });
    const { secrets } = await client.call('secret.list', {});
    expect(secrets.map(({ usage, hasValue, private: hidden }) => ({ usage, hasValue, hidden }))).toEqual([
      { usage: '/x', hasValue: false, hidden: false },
      { usage: '/var/lib/libvirt/images/web.luks', hasValue: true, hidden: true },
    ]);
    const value = at('etc/vireo/secret-values/6d9b5e7c-1c1e-4a53-9a3e-0f6a6c1a0022.base64');
    expect(readFileSync(value, 'utf8')).toBe('b3BlbiBzZXNhbWU=');
    const { xml } = await client.call('nwfilter.xml', { filter: 'clean-traffic' });
    expect(xml).not.toContain('qemu-announce-self');
    expect((await client.call('nwfilter.xml', { filter: 'house' })).xml).toContain(`dstportstart='25'`);
    const again = await adopt();
    expect(new Set([...again.values()].map(({ outcome }) => outcome))).toEqual(
      new Set(['present', 'refused']),
    );
  });

  it('takes a saved memory over with its domain, and only with it', async () => {
    const xml = readFileSync(at('etc/libvirt/qemu/saved.xml'), 'utf8');
    const head = encodeHead({ xml, wasRunning: true, format: 'raw' }, { isWhole: true });
    writeFileSync(at('var/lib/libvirt/qemu/save/saved.save'), Buffer.concat([head, Buffer.from('memory')]));
    expect((await adopt(true)).get('managed-save saved')?.outcome).toBe('adopted');
    expect((await adopt()).get('managed-save saved')?.outcome).toBe('adopted');
    const savedDomains = async () =>
      (await client.call('domain.list', { saved: true })).domains.map(({ name }) => name);
    expect(await savedDomains()).toEqual(['saved']);
    expect((await adopt()).get('managed-save saved')?.outcome).toBe('present');
  });

  it('takes snapshots over with their domain: virsh shows the tree, and the state in the image comes back', async () => {
    const image = at('web.qcow2');
    const tool = (program: string, ...args: string[]) =>
      execFileSync(program, args, { encoding: 'utf8', stdio: 'pipe' });
    const writeDisk = (pattern: number) =>
      tool('qemu-io', '-f', 'qcow2', '-c', `write -P ${pattern} 0 64k`, image);
    tool('qemu-img', 'create', '-q', '-f', 'qcow2', image, '16M');
    writeDisk(1);
    tool('qemu-img', 'snapshot', '-c', 'clean', image);
    writeDisk(2);
    tool('qemu-img', 'snapshot', '-c', 'after', image);
    writeDisk(3);
    const here = (xml: string) => xml.replaceAll('/var/lib/libvirt/images/web.qcow2', image);
    write('etc/libvirt/qemu/web.xml', here(readFileSync(at('etc/libvirt/qemu/web.xml'), 'utf8')));
    const clean = here(readFileSync(at('var/lib/libvirt/qemu/snapshot/web/clean.xml'), 'utf8'));
    const child = (name: string, parent: string) =>
      clean.replace('<name>clean</name>', `<name>${name}</name><parent><name>${parent}</name></parent>`);
    write(
      'var/lib/libvirt/qemu/snapshot/web/clean.xml',
      clean.replace('<active>1</active>', '<active>0</active>'),
    );
    // By name it comes before its parent.
    write('var/lib/libvirt/qemu/snapshot/web/after.xml', child('after', 'clean'));
    write('var/lib/libvirt/qemu/snapshot/web/lost.xml', child('lost', 'gone'));
    write('var/lib/libvirt/qemu/snapshot/nobody/one.xml', child('one', 'clean'));
    const planned = outcomes(await adopt(true));
    const report = await adopt();
    expect(outcomes(report)).toEqual(planned);
    expect(report.get('snapshot web/clean')?.outcome).toBe('adopted');
    expect(report.get('snapshot web/after')?.outcome).toBe('adopted');
    expect(report.get('snapshot web/lost')?.detail).toBe("its parent 'gone' did not come over");
    expect(report.get('snapshot nobody/one')?.detail).toBe('its domain did not come over');

    const virsh = (...args: string[]) =>
      tool('virsh', '-c', `qemu:///system?socket=${at('run/libvirt/libvirt-sock')}`, ...args).trim();
    expect(virsh('snapshot-list', 'web', '--tree')).toBe('clean\n  |\n  +- after');
    expect(virsh('snapshot-current', 'web', '--name')).toBe('after');
    virsh('snapshot-revert', 'web', 'clean');
    expect(tool('qemu-io', '-f', 'qcow2', '-c', 'read -P 1 0 64k', image)).not.toContain('failed');
    virsh('snapshot-delete', 'web', 'after');
    expect(tool('qemu-img', 'snapshot', '-l', image)).not.toContain('after');
    const again = await adopt();
    expect(again.get('snapshot web/clean')?.outcome).toBe('present');
    // What was deleted here does not come again.
    expect(again.get('snapshot web/after')?.outcome).toBe('refused');
    expect(virsh('snapshot-list', 'web', '--name')).toBe('clean');
  });

  it('takes a secret over with the value it had, or not at all', async () => {
    write('etc/libvirt/secrets/6d9b5e7c-1c1e-4a53-9a3e-0f6a6c1a0022.base64', 'no base64!');
    const report = await adopt();
    expect(report.get('secret 6d9b5e7c-1c1e-4a53-9a3e-0f6a6c1a0022')).toMatchObject({
      outcome: 'refused',
      detail: expect.stringContaining('base64'),
    });
    expect((await client.call('secret.list', {})).secrets).toHaveLength(1);
  });

  it('copies firmware variables and the state of a TPM, and points the definition at the copy', async () => {
    await adopt();
    const ours = at('var/lib/vireo/nvram/6d9b5e7c-1c1e-4a53-9a3e-0f6a6c1a0005_VARS.fd');
    expect(readFileSync(ours, 'utf8')).toBe('variables of efi');
    expect((await client.call('domain.xml', { domain: 'efi' })).xml).toContain(ours);
    const tpm = at('var/lib/vireo/tpm/6d9b5e7c-1c1e-4a53-9a3e-0f6a6c1a0005/tpm2-00.permall');
    expect(readFileSync(tpm, 'utf8')).toBe('sealed');
  });

  it('follows no link that a guest may have put in the way', async () => {
    write('secret', 'of root');
    rmSync(at('var/lib/libvirt/qemu/nvram/efi_VARS.fd'));
    symlinkSync(at('secret'), at('var/lib/libvirt/qemu/nvram/efi_VARS.fd'));
    rmSync(at('var/lib/libvirt/qemu/snapshot'), { recursive: true });
    mkdirSync(at('elsewhere/web'), { recursive: true });
    write('elsewhere/web/clean.xml', 'of root');
    symlinkSync(at('elsewhere'), at('var/lib/libvirt/qemu/snapshot'));
    const report = await adopt();
    expect(report.get('domain efi')).toMatchObject({ outcome: 'refused', detail: 'it is a link' });
    expect(report.get('snapshot web/clean')).toMatchObject({
      outcome: 'refused',
      detail: expect.stringContaining('leads elsewhere'),
    });
    expect(readdirSync(at('var/lib/vireo'), { recursive: true }).map(String)).not.toContain(
      'nvram/6d9b5e7c-1c1e-4a53-9a3e-0f6a6c1a0005_VARS.fd',
    );
  });

  it('can be done again, and leaves what changed here meanwhile', async () => {
    await adopt();
    await client.call('domain.set-title', { domain: 'web', title: 'ours' });
    const again = await adopt();
    expect(again.get('domain web')?.outcome).toBe('present');
    expect(again.get('network lab')?.outcome).toBe('present');
    expect(again.get('snapshot web/clean')?.outcome).toBe('present');
    expect((await client.call('domain.xml', { domain: 'web' })).xml).toContain('<title>ours</title>');
  });

  it('leaves a guest alone that runs under libvirtd, and says its process', async () => {
    // A process that looks on the host as libvirt's QEMU does.
    other = spawn(process.execPath, ['-e', 'setTimeout(() => {}, 60000)', '--', '-uuid', uuidOfWeb], {
      argv0: 'qemu-system-x86_64',
      stdio: 'ignore',
    });
    const report = await adopt();
    expect(report.get('domain web')).toMatchObject({
      outcome: 'refused',
      detail: expect.stringContaining(`process ${other.pid}`),
    });
    expect((await client.call('domain.list', {})).domains.map(({ name }) => name)).not.toContain('web');
  });

  it('offers it in the host check until it is done', async () => {
    const find = async () => (await client.call('host.check', {})).checks.find(({ id }) => id === 'libvirt');
    expect(await find()).toMatchObject({
      status: 'warning',
      repair: expect.stringContaining('vireo adopt libvirt'),
    });
    rmSync(at('etc/libvirt/qemu/broken.xml'));
    await adopt();
    expect(await find()).toBeUndefined();
  });
});
