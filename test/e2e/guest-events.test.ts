/**
 * Events that a guest or its devices cause, each caused once: as clients of JSON-RPC hear of them, and as an unmodified virsh
 * prints them. Those of guests that boot a Linux are with what causes them (hotplug, tuning, guest-devices, guest-clock).
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import type { VireoClient } from '../../src/api/client.ts';
import type { PublishedEvent } from '../../src/api/index.ts';
import { eventually, TestDaemon } from '../support/daemon.ts';
import { bootSector, writeImage } from '../support/guest-image.ts';
import { describeWith } from '../support/needs.ts';
import { rfbHandshake } from '../support/rfb.ts';

describeWith(['root', 'qemu-system-x86_64', 'virsh', 'stdbuf'], 'what a guest causes', () => {
  let daemon: TestDaemon;
  let client: VireoClient;
  let events: Awaited<ReturnType<VireoClient['subscribe']>> | undefined;
  let virsh: ChildProcess;
  let printed = '';
  const told: PublishedEvent[] = [];
  const path = (name: string) => join(daemon.root, name);

  beforeAll(async () => {
    daemon = await TestDaemon.start();
    client = await daemon.connect();
    events = await client.subscribe({ events: ['domain.*'] });
    void (async () => {
      for await (const event of events ?? []) told.push(event);
    })();
    const uri = `qemu:///system?socket=${path('run/libvirt/libvirt-sock')}`;
    virsh = spawn('stdbuf', ['-oL', 'virsh', '-c', uri, 'event', '--all', '--loop'], {
      env: { ...process.env, LC_ALL: 'C' },
    });
    virsh.stdout?.on('data', (chunk: Buffer) => {
      printed += chunk.toString();
    });
    writeImage(path('guest.img'), bootSector.keepsMemoryAndHangs);
    writeFileSync(path('medium.iso'), Buffer.alloc(65_536));
    writeFileSync(path('stick.img'), Buffer.alloc(65_536));
    await client.call('domain.define', {
      xml: `<domain type='qemu'><name>ev</name><maxMemory slots='1' unit='MiB'>512</maxMemory><memory unit='MiB'>160</memory>
        <cpu><numa><cell id='0' cpus='0' memory='32' unit='MiB'/></numa></cpu><os><type machine='pc'>hvm</type></os>
        <features><acpi/></features><devices><controller type='usb' model='qemu-xhci'/>
        <disk type='file'><driver name='qemu' type='raw'/><source file='${path('guest.img')}'/><target dev='hda' bus='ide'/></disk>
        <disk type='file' device='cdrom'><target dev='hdc' bus='ide'/></disk>
        <memory model='dimm'><target><size unit='MiB'>128</size><node>0</node></target></memory>
        <graphics type='vnc' autoport='yes' listen='127.0.0.1'/><watchdog model='ib700' action='pause'/></devices></domain>`,
    });
    // virsh listens when it prints the first of them.
    await eventually('virsh listens', async () => {
      await client.call('domain.set-title', { domain: 'ev', title: `at ${Date.now()}` });
      return printed.includes('metadata-change');
    });
  });
  afterAll(async () => {
    virsh?.kill();
    await events?.close();
    await client?.close();
    await daemon?.remove();
  });

  /** Waits until both have told of it. */
  async function hears(event: object, line: RegExp): Promise<void> {
    await eventually(
      `${JSON.stringify(event)} and ${String(line)}`,
      () => {
        const isTold = told.some((one) => expect.objectContaining(event).asymmetricMatch(one));
        return isTold && line.test(printed);
      },
      60_000,
    );
  }

  it('is told: a title, devices that come and go, trays, clients of displays', async () => {
    await hears(
      { event: 'domain.metadata-changed', what: 'title' },
      /'metadata-change' for domain 'ev': (type )?title/,
    );
    await client.call('domain.start', { domain: 'ev' });
    await hears({ event: 'domain.started', reason: 'booted' }, /'lifecycle' for domain 'ev': Started Booted/);
    const disk = { path: path('stick.img'), format: 'raw', bus: 'usb' } as const;
    const plugged = await client.call('domain.attach-device', { domain: 'ev', disk, live: true });
    const alias = plugged.alias ?? '';
    await hears(
      { event: 'domain.device-added', alias },
      new RegExp(`'device-added' for domain 'ev': ${alias}`),
    );
    await client.call('domain.detach-device', { domain: 'ev', device: alias, live: true });
    await hears(
      { event: 'domain.device-removed', alias },
      new RegExp(`'device-removed' for domain 'ev': ${alias}`),
    );
    await client.call('domain.change-media', {
      domain: 'ev',
      device: 'hdc',
      path: path('medium.iso'),
      live: true,
    });
    for (const open of [true, false])
      await hears(
        { event: 'domain.tray-changed', alias: 'ide0-1-0', open },
        new RegExp(`'tray-change' for domain 'ev' disk ide0-1-0: ${open ? 'opened' : 'closed'}`),
      );
    const xml = (await client.call('domain.xml', { domain: 'ev' })).xml;
    const port = Number(/graphics type='vnc' port='(\d+)'/.exec(xml)?.[1]);
    await rfbHandshake({ host: '127.0.0.1', port });
    for (const phase of ['connect', 'disconnect'])
      await hears(
        {
          event: 'domain.graphics',
          phase,
          local: { family: 'ipv4', node: '127.0.0.1', service: String(port) },
        },
        new RegExp(`'graphics' for domain 'ev': ${phase}`),
      );
  });

  it('is told: a device that it keeps, a watchdog, and what that leads to', async () => {
    await hears(
      { event: 'domain.device-removal-failed', alias: 'dimm0' },
      /'device-removal-failed' for domain 'ev': dimm0/,
    );
    await hears({ event: 'domain.watchdog', action: 'pause' }, /'watchdog' for domain 'ev': pause/);
    await hears(
      { event: 'domain.suspended', reason: 'watchdog' },
      /'lifecycle' for domain 'ev': Suspended Watchdog/,
    );
    await client.call('domain.destroy', { domain: 'ev' });
    await hears(
      { event: 'domain.stopped', reason: 'destroyed' },
      /'lifecycle' for domain 'ev': Stopped Destroyed/,
    );
  });

  it('is told: a sleep on disk, which is a power-off too', async () => {
    writeImage(path('sleeper.img'), bootSector.sleepsOnDisk);
    await client.call('domain.create-xml', {
      xml: `<domain type='qemu'><name>sleeper</name><memory unit='MiB'>32</memory><os><type machine='pc'>hvm</type></os>
        <features><acpi/></features><pm><suspend-to-disk enabled='yes'/></pm><devices><disk type='file'>
        <driver name='qemu' type='raw'/><source file='${path('sleeper.img')}'/><target dev='hda' bus='ide'/></disk></devices></domain>`,
    });
    await hears({ event: 'domain.sleeping', to: 'disk' }, /'pm-suspend-disk' for domain 'sleeper'/);
    await hears(
      { event: 'domain.shutdown', reason: 'guest' },
      /'lifecycle' for domain 'sleeper': PMSuspended Disk/,
    );
    await hears(
      { event: 'domain.stopped', reason: 'shutdown' },
      /'lifecycle' for domain 'sleeper': Stopped Shutdown/,
    );
  });
});
