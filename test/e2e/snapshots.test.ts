/**
 * Snapshots of a guest that writes: what it had on its disk and in its memory is there again after a return, through
 * our own API, the command line and virsh.
 */
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { VireoClient } from '../../src/api/client.ts';
import { eventually, project, qemuProcesses, TestDaemon } from '../support/daemon.ts';
import { littleLinux, startScript } from '../support/guest-image.ts';
import { expectSchemaValid } from '../support/libvirt-schema.ts';
import { describeWith } from '../support/needs.ts';

/** Counts in memory; at each step it tells what is on its disk, and writes something new there. */
const counting = `#!/bin/busybox sh
(
  n=0
  sum() { dd if=/dev/vda bs=64k count=2 iflag=direct 2>/dev/null | sha256sum | cut -c1-16; }
  while :; do
    n=$((n+1))
    was=$(sum)
    dd if=/dev/urandom of=/dev/vda bs=64k count=2 conv=fsync 2>/dev/null
    echo "step:$n was:$was is:$(sum) ." >/dev/ttyS0
    sleep 0.7
  done
) &
`;

interface Step {
  readonly step: number;
  readonly was: string;
  readonly is: string;
}

describeWith(['root', 'busybox', 'qemu-system-x86_64', 'qemu-img', 'virsh'], 'snapshots', () => {
  let daemon: TestDaemon;
  let client: VireoClient;
  let files: Awaited<ReturnType<typeof littleLinux>>;

  beforeAll(async () => {
    daemon = await TestDaemon.start();
    client = await daemon.connect();
    files = await littleLinux(join(daemon.root, 'linux'), [startScript(counting)]);
  });
  afterAll(async () => {
    await client?.close();
    await daemon?.remove();
  });

  const path = (name: string) => join(daemon.root, name);
  const virsh = (...args: string[]) => {
    const uri = `qemu:///system?socket=${join(daemon.root, 'run/libvirt/libvirt-sock')}`;
    return execFileSync('virsh', ['-c', uri, ...args], { encoding: 'utf8', stdio: 'pipe' }).trim();
  };
  const vireo = (...args: string[]) =>
    execFileSync(join(project, 'bin/vireo'), ['--root', daemon.root, ...args], {
      encoding: 'utf8',
      stdio: 'pipe',
    });

  const listTagNames = (file: string) =>
    (
      JSON.parse(execFileSync('qemu-img', ['info', '-U', '--output=json', file], { encoding: 'utf8' })) as {
        snapshots?: { name: string }[];
      }
    ).snapshots?.map((one) => one.name) ?? [];
  /** What a guest sees on the beginning of an image that nobody has open. */
  const diskHash = (file: string) => {
    execFileSync('qemu-img', [
      'dd',
      '-f',
      'qcow2',
      '-O',
      'raw',
      'bs=64k',
      'count=2',
      `if=${file}`,
      `of=${path('dd')}`,
    ]);
    const hash = createHash('sha256')
      .update(readFileSync(path('dd')))
      .digest('hex')
      .slice(0, 16);
    rmSync(path('dd'));
    return hash;
  };

  const makeImage = (name: string, mebibytes = 64) => {
    execFileSync('qemu-img', ['create', '-q', '-f', 'qcow2', path(name), `${mebibytes}M`]);
    return path(name);
  };

  const domainXml = (name: string, disk: string) =>
    `<domain type='qemu'><name>${name}</name><memory unit='MiB'>128</memory><vcpu>1</vcpu>
      <os><type machine='pc'>hvm</type><kernel>${files.kernel}</kernel><initrd>${files.initrd}</initrd>
        <cmdline>console=ttyS0 quiet</cmdline></os><features><acpi/><apic/></features>
      <devices>
        <disk type='file' device='disk'><driver name='qemu' type='qcow2'/><source file='${disk}'/>
          <target dev='vda' bus='virtio'/></disk>
        <serial type='pty'><log file='${path(`${name}.serial`)}' append='on'/></serial>
      </devices></domain>`;

  const said = (name: string) => readFileSync(path(`${name}.serial`), 'latin1');
  const steps = (name: string): Step[] =>
    [...said(name).matchAll(/step:(\d+) was:([0-9a-f]{16}) is:([0-9a-f]{16}) \./g)].map(
      ([, step, was = '', is = '']) => ({ step: Number(step), was, is }),
    );
  /** The next thing that the guest says. */
  async function next(name: string, limitMs = 60_000): Promise<Step> {
    const before = existsSync(path(`${name}.serial`)) ? steps(name).length : 0;
    await eventually(
      `${name} says more`,
      () => existsSync(path(`${name}.serial`)) && steps(name).length > before,
      limitMs,
    );
    return steps(name).at(-1) as Step;
  }
  /** The guest goes on from that step: from its memory, and from what was on its disk. */
  async function expectOnFrom(name: string, { step, is }: Step): Promise<void> {
    expect(await next(name)).toMatchObject({ step: step + 1, was: is });
  }
  const names = async (domain: string) =>
    (await client.call('snapshot.list', { domain })).snapshots.map((one) => one.name);

  describe('inside the images', () => {
    const name = 'inner';
    let image: string;
    beforeAll(async () => {
      image = makeImage('inner.qcow2');
      await client.call('domain.define', { xml: domainXml(name, image) });
      await client.call('domain.start', { domain: name });
      await next(name, 100_000);
    });

    it('bring back memory and disk of a running guest, in the same QEMU', async () => {
      const before = await next(name);
      const [pid] = qemuProcesses(daemon.root);
      const made = await client.call('snapshot.create', { domain: name, name: 'one' });
      expect(made).toMatchObject({ name: 'one', state: 'running', memory: 'internal', current: true });
      await expectOnFrom(name, before);
      await next(name);
      const started = performance.now();
      await client.call('snapshot.revert', { domain: name, snapshot: 'one' });
      process.stderr.write(`revert: ${Math.round(performance.now() - started)} ms\n`);
      await expectOnFrom(name, before);
      expect(qemuProcesses(daemon.root)).toEqual([pid]);
    });

    it('bring it back in a new QEMU when the devices are others', async () => {
      await next(name);
      await client.call('domain.suspend', { domain: name });
      const before = steps(name).at(-1) as Step;
      expect(vireo('snapshot', 'create', name, 'two', '--description', 'second')).toContain("'two' is made");
      await client.call('domain.resume', { domain: name });
      writeFileSync(path('more.img'), Buffer.alloc(1 << 20));
      await client.call('domain.attach-device', {
        domain: name,
        live: true,
        disk: { path: path('more.img'), format: 'raw' },
      });
      const [pid] = qemuProcesses(daemon.root);
      vireo('snapshot', 'revert', name, 'two', '--state', 'running', '--yes');
      await expectOnFrom(name, before);
      expect(qemuProcesses(daemon.root)).not.toEqual([pid]);
      expect((await client.call('domain.xml', { domain: name })).xml).not.toContain('more.img');
    });

    it('are a tree, to virsh too; deleting one gives its children its parent', async () => {
      virsh('snapshot-create-as', name, 'three', '--description', 'by virsh');
      expect(await names(name)).toEqual(['one', 'two', 'three']);
      expect(virsh('snapshot-list', name, '--tree').replace(/\s+/g, ' ')).toBe('one | +- two | +- three');
      expect(virsh('snapshot-current', name, '--name')).toBe('three');
      expect(virsh('snapshot-parent', name, 'three')).toBe('two');
      expect(virsh('snapshot-info', name, 'two')).toMatch(/Children:\s+1\n/);
      expect(vireo('snapshot', 'tree', name)).toContain('└─ three *');
      expectSchemaValid(
        virsh('snapshot-dumpxml', name, 'three'),
        '/usr/share/libvirt/schemas/domainsnapshot.rng',
      );
      virsh('snapshot-delete', name, 'two');
      expect(virsh('snapshot-parent', name, 'three')).toBe('one');
      expect(listTagNames(image)).toEqual(['one', 'three']);
    });

    it('are found again by another daemon, and are made and returned to while the guest is off', async () => {
      daemon = await daemon.crashAndRestart();
      client = await daemon.connect();
      expect(await names(name)).toEqual(['one', 'three']);
      await client.call('domain.destroy', { domain: name });
      const before = diskHash(image);
      virsh('snapshot-create-as', name, 'off');
      const [root] = (await client.call('snapshot.list', { domain: name })).snapshots;
      expect(root).toMatchObject({ name: 'one', children: ['three'] });
      await client.call('domain.start', { domain: name });
      await next(name, 100_000);
      await next(name);
      await client.call('snapshot.revert', { domain: name, snapshot: 'off' });
      expect(await client.call('domain.get', { domain: name })).toMatchObject({ state: 'shutoff' });
      expect(diskHash(image)).toBe(before);
      // A return to one with memory starts the guest.
      await client.call('snapshot.revert', { domain: name, snapshot: 'three', state: 'running' });
      await next(name);
      expect(() => virsh('undefine', name)).not.toThrow();
      virsh('destroy', name);
    });

    it('stand in the way of forgetting a domain that is off, unless they may be forgotten', async () => {
      const other = makeImage('other.qcow2', 1);
      await client.call('domain.define', { xml: domainXml('other', other) });
      virsh('snapshot-create-as', 'other', 'a');
      virsh('snapshot-create-as', 'other', 'b');
      expect(() => virsh('undefine', 'other')).toThrow(/cannot delete inactive domain with 2 snapshots/);
      virsh('snapshot-delete', 'other', 'a', '--children');
      expect(await names('other')).toEqual([]);
      expect(listTagNames(other)).toEqual([]);
      virsh('snapshot-create-as', 'other', 'c');
      virsh('undefine', 'other', '--snapshots-metadata');
      expect(existsSync(path('var/lib/vireo/snapshots/other'))).toBe(false);
      expect(listTagNames(other)).toEqual(['c']);
    });
  });

  describe('in new images on top', () => {
    const name = 'outer';
    let image: string;
    beforeAll(async () => {
      image = makeImage('outer.qcow2');
      await client.call('domain.define', { xml: domainXml(name, image) });
      await client.call('domain.start', { domain: name });
      await next(name, 100_000);
    });

    it('keep what was on the disk, while the guest goes on in the new one, after a crash of the daemon too', async () => {
      virsh('snapshot-create-as', name, 's1', '--disk-only');
      const top = path('outer.s1');
      expect(existsSync(top)).toBe(true);
      const kept = diskHash(image);
      await next(name);
      await next(name);
      expect(diskHash(image)).toBe(kept);
      daemon = await daemon.crashAndRestart();
      client = await daemon.connect();
      for (const inactive of [false, true]) {
        const { xml } = await client.call('domain.xml', { domain: name, inactive });
        expect(xml).toContain(`<source file='${top}'`);
      }
      await client.call('snapshot.create', { domain: name, name: 's2', diskOnly: true });
      expect(virsh('snapshot-list', name, '--tree').replace(/\s+/g, ' ')).toBe('s1 | +- s2');
      await next(name);
      await client.call('domain.destroy', { domain: name });
      expect(diskHash(image)).toBe(kept);
    });

    it('are returned to, which libvirt 9 refuses; the other branch stays', async () => {
      const kept = diskHash(image);
      const second = diskHash(path('outer.s1'));
      virsh('snapshot-revert', name, 's1');
      const { xml } = await client.call('domain.xml', { domain: name });
      const branch = /<source file='([^']+)'/.exec(xml)?.[1] ?? '';
      expect(diskHash(branch)).toBe(kept);
      // What came after the second one was in no snapshot.
      expect(existsSync(path('outer.s2'))).toBe(false);
      virsh('snapshot-revert', name, 's2');
      expect(existsSync(branch)).toBe(false);
      const now =
        /<source file='([^']+)'/.exec((await client.call('domain.xml', { domain: name })).xml)?.[1] ?? '';
      expect(diskHash(now)).toBe(second);
    });

    it('are merged when they are deleted; no image that something needs is lost', async () => {
      const second = diskHash(path('outer.s1'));
      virsh('snapshot-delete', name, 's1');
      const tree = await client.call('snapshot.list', { domain: name });
      expect(tree.snapshots.map((one) => one.name)).toEqual(['s2']);
      // What lay on the first image is in it, and the second snapshot is of that.
      expect(existsSync(path('outer.s1'))).toBe(false);
      expect(diskHash(image)).toBe(second);
      virsh('snapshot-delete', name, 's2');
      expect((await client.call('domain.xml', { domain: name })).xml).toContain(`<source file='${image}'`);
      expect(diskHash(image)).toBe(second);
      await client.call('domain.start', { domain: name });
      expect((await next(name, 100_000)).was).toBe(second);
      await client.call('domain.destroy', { domain: name });
    });
  });
});
