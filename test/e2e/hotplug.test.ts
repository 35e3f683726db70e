/**
 * Devices that come and go while a guest runs: a little Linux on pc and on q35 tells on its serial line what it sees.
 * The daemon is in a network namespace of its own, with two bridges.
 */
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { VireoClient } from '../../src/api/client.ts';
import { eventually, TestDaemon } from '../support/daemon.ts';
import { littleLinux, startScript } from '../support/guest-image.ts';
import { describeWith } from '../support/needs.ts';

const space = `vireo-hotplug-${process.pid}`;
const ip = (...args: string[]) => execFileSync('ip', args, { encoding: 'utf8' });
const links = () =>
  ip('-n', space, '-br', 'link')
    .split('\n')
    .map((line) => line.split(/[\s@]/)[0]);
const masterOf = (dev: string) => /master (\S+)/.exec(ip('-n', space, 'link', 'show', dev))?.[1];

/** One line for each change of what the guest has; the first bytes of new disks as a hash. */
const watch = `#!/bin/busybox sh
(
  before=
  while :; do
    now=
    for d in $(ls /sys/block | grep -v -e ram -e loop); do
      now="$now $d:$(cat /sys/block/$d/size):$(dd if=/dev/$d bs=64k count=1 2>/dev/null | sha256sum | cut -c1-12)"
    done
    for d in $(ls /sys/class/net | grep -v lo); do
      ip link set $d up
      now="$now $(cat /sys/class/net/$d/address)=$(cat /sys/class/net/$d/carrier 2>/dev/null)"
    done
    now="$now rng:$(cat /sys/class/misc/hw_random/rng_available | wc -w) ports:$(ls /dev/vport* 2>/dev/null | wc -l)"
    [ "$now" = "$before" ] || echo "has:$now ." >/dev/ttyS0
    before=$now
    sleep 0.3
  done
) &
`;

type Cards = { readonly machine: string; readonly drive: string; readonly bus: string };
const machines: readonly Cards[] = [
  { machine: 'pc', drive: 'hdc', bus: 'ide' },
  // The little guest has no driver for the board's SATA.
  { machine: 'q35', drive: 'sda', bus: 'scsi' },
];

describeWith(
  ['root', 'ip', 'tc', 'nft', 'busybox', 'qemu-system-x86_64', 'virsh'],
  'devices of a running guest',
  () => {
    let daemon: TestDaemon;
    let client: VireoClient;
    let files: Awaited<ReturnType<typeof littleLinux>>;

    beforeAll(async () => {
      ip('netns', 'add', space);
      ip('-n', space, 'link', 'set', 'lo', 'up');
      for (const bridge of ['near', 'far']) {
        ip('-n', space, 'link', 'add', bridge, 'type', 'bridge');
        ip('-n', space, 'link', 'set', bridge, 'up');
      }
      const first = await TestDaemon.start();
      await first.end();
      writeFileSync(
        join(first.root, 'etc/vireo/vireod.toml'),
        '[network]\ndefine_default = false\n[qemu]\nunplug_timeout_seconds = 2\n',
      );
      daemon = await TestDaemon.start({ root: first.root, inside: ['ip', 'netns', 'exec', space] });
      client = await daemon.connect();
      files = await littleLinux(join(daemon.root, 'linux'), [startScript(watch)]);
    });
    afterAll(async () => {
      await client?.close();
      await daemon?.remove();
      ip('netns', 'del', space);
    });

    const virsh = (...args: string[]) => {
      const uri = `qemu:///system?socket=${join(daemon.root, 'run/libvirt/libvirt-sock')}`;
      return execFileSync('virsh', ['-c', uri, ...args], { encoding: 'utf8', stdio: 'pipe' }).trim();
    };
    const path = (name: string) => join(daemon.root, name);
    const qmp = async (domain: string, command: string, args: Record<string, unknown> = {}) =>
      (await client.call('domain.monitor-command', { domain, command, arguments: args })).return;

    /** A file with something in it, and the hash by which the guest tells it. */
    function image(name: string, mebibytes: number): { readonly file: string; readonly hash: string } {
      const bytes = Buffer.alloc(mebibytes << 20);
      bytes.write(`${name} `.repeat(6000));
      writeFileSync(path(name), bytes);
      const hash = createHash('sha256').update(bytes.subarray(0, 65_536)).digest('hex').slice(0, 12);
      return { file: path(name), hash };
    }

    async function start(name: string, { machine, drive, bus }: Cards): Promise<void> {
      const ports = machine === 'q35' ? "<controller type='pci' model='pcie-root-port'/>".repeat(10) : '';
      const xml = `<domain type='qemu'><name>${name}</name><memory unit='MiB'>256</memory><vcpu>1</vcpu>
      <os><type machine='${machine}'>hvm</type><kernel>${files.kernel}</kernel><initrd>${files.initrd}</initrd>
        <cmdline>console=ttyS0 quiet no_timer_check</cmdline></os><features><acpi/><apic/></features>
      <devices>${ports}<controller type='usb' model='qemu-xhci'/><controller type='scsi' model='virtio-scsi'/>
        <disk type='file' device='cdrom'><target dev='${drive}' bus='${bus}'/></disk>
        <serial type='pty'><log file='${path(`${name}.serial`)}' append='off'/></serial>
      </devices></domain>`;
      await client.call('domain.define', { xml });
      await client.call('domain.start', { domain: name });
      await eventually(`a boot: ${said(name)}`, () => /rng:/.test(lastOf(name)), 100_000);
    }

    const said = (name: string) => readFileSync(path(`${name}.serial`), 'latin1');
    const lastOf = (name: string) =>
      said(name)
        .match(/has:[^\n]* \.\s*?\n/g)
        ?.at(-1) ?? '';
    const sees = (name: string, what: RegExp, limitMs = 30_000) =>
      eventually(`${String(what)} in ${name}`, () => what.test(lastOf(name)), limitMs);
    const misses = (name: string, what: RegExp) =>
      eventually(`no ${String(what)} in ${name}`, () => !what.test(lastOf(name)), 30_000);

    const xmlOf = async (domain: string, stored = false) =>
      (await client.call('domain.xml', { domain, inactive: stored })).xml;

    /** QEMU has nothing of devices that are gone, and every device that the definition has. */
    async function expectTidy(domain: string): Promise<void> {
      const xml = await xmlOf(domain);
      const present = (await qmp(domain, 'qom-list', { path: '/machine/peripheral' })) as { name: string }[];
      const aliases = new Set([...xml.matchAll(/alias name='([^']+)'/g)].map(([, alias]) => alias));
      const own = /^(virtio-disk|scsi\d|usb-disk|net|rng|channel|input\d|virtio-serial)/;
      for (const { name } of present.filter(({ name }) => own.test(name))) expect(aliases).toContain(name);
      const nodes = (await qmp(domain, 'query-named-block-nodes', { flat: true })) as {
        'node-name': string;
      }[];
      const numbers = new Set([...xml.matchAll(/index='(\d+)'\/?>/g)].map(([, number]) => number));
      for (const node of nodes) expect(numbers).toContain(/^libvirt-(\d+)-/.exec(node['node-name'])?.[1]);
      const netdevs = (await qmp(domain, 'query-chardev')) as { label: string }[];
      for (const { label } of netdevs.filter(({ label }) => label.startsWith('charchannel')))
        expect(aliases).toContain(label.slice(4));
    }

    /** Takes it out; a guest on a busy host may take longer than the daemon waits for its word. */
    async function removed(domain: string, device: string): Promise<void> {
      const { released } = await client.call('domain.detach-device', { domain, device, live: true });
      if (!released)
        await eventually(`${device} is gone`, async () => !(await xmlOf(domain)).includes(`'${device}'`));
    }

    describe.each(machines)('on $machine', (cards) => {
      const name = `plug-${cards.machine}`;
      beforeAll(() => start(name, cards));
      afterAll(() => client.call('domain.destroy', { domain: name }));

      it('are disks on virtio, SCSI and USB, with what is on them', async () => {
        for (const [bus, size] of [
          ['virtio', 5],
          ['scsi', 6],
          ['usb', 7],
        ] as const) {
          const { file, hash } = image(`${name}-${bus}.img`, size);
          const { alias } = await client.call('domain.attach-device', {
            domain: name,
            disk: { path: file, format: 'raw', bus },
            live: true,
          });
          expect(alias).toMatch(/disk|scsi/);
          // usb-storage is a module that the little guest has not.
          if (bus !== 'usb') await sees(name, new RegExp(`:${size * 2048}:${hash}`));
          expect(await xmlOf(name)).toContain(file);
          expect(await xmlOf(name, true)).not.toContain(file);
        }
        await expectTidy(name);
        const all = [...(await xmlOf(name)).matchAll(/target dev='(\w+)' bus='(virtio|scsi|usb)'/g)];
        const targets = all.filter(([, dev]) => dev !== cards.drive);
        expect(targets.map(([, , bus]) => bus)).toEqual(['virtio', 'scsi', 'usb']);
        for (const [, dev = ''] of targets) await removed(name, dev);
        await misses(name, /:(10240|12288):/);
        await expectTidy(name);
      });

      it('are network cards, whose tap comes and goes, changes its bridge, and whose cable is pulled', async () => {
        const mac = '52:54:00:00:66:01';
        const xml = (bridge: string, link = 'up') =>
          `<interface type='bridge'><mac address='${mac}'/><source bridge='${bridge}'/><model type='virtio'/><link state='${link}'/></interface>`;
        const before = links();
        await client.call('domain.attach-device', { domain: name, xml: xml('near') });
        await sees(name, new RegExp(`${mac}=1`));
        const tap = /target dev='(vnet\d+)'/.exec(await xmlOf(name))?.[1] ?? '';
        expect(masterOf(tap)).toBe('near');
        expect(await xmlOf(name, true)).toContain(mac);
        await client.call('domain.update-device', { domain: name, xml: xml('far', 'down') });
        expect(masterOf(tap)).toBe('far');
        await sees(name, new RegExp(`${mac}=0`));
        for (const stored of [false, true]) {
          expect(await xmlOf(name, stored)).toContain("source bridge='far'");
          expect(await xmlOf(name, stored)).toContain("link state='down'");
        }
        await expect(
          client.call('domain.update-device', {
            domain: name,
            xml: xml('far').replace("'virtio'", "'e1000'"),
          }),
        ).rejects.toThrow(/interface\.model/);
        const tuned = xml('far').replace(
          '</interface>',
          "<bandwidth><inbound average='2000'/></bandwidth><filterref filter='no-ip-spoofing'/></interface>",
        );
        const rules = () =>
          execFileSync('ip', ['netns', 'exec', space, 'nft', 'list', 'ruleset'], { encoding: 'utf8' });
        const limits = () =>
          execFileSync('tc', ['-n', space, 'class', 'show', 'dev', tap], { encoding: 'utf8' });
        await client.call('domain.update-device', { domain: name, xml: tuned });
        expect(limits()).toMatch(/rate 16Mbit/);
        expect(rules()).toContain(tap);
        for (const stored of [false, true]) {
          expect(await xmlOf(name, stored)).toContain("<inbound average='2000'/>");
          expect(await xmlOf(name, stored)).toContain("filterref filter='no-ip-spoofing'");
        }
        // What cannot be had changes nothing.
        const missing = tuned.replace('no-ip-spoofing', 'no-such-filter').replace('2000', '3000');
        await expect(client.call('domain.update-device', { domain: name, xml: missing })).rejects.toThrow(
          /no-such-filter/,
        );
        expect(limits()).toMatch(/rate 16Mbit/);
        const half = missing.replace("bridge='far'", "bridge='near'");
        await expect(client.call('domain.update-device', { domain: name, xml: half })).rejects.toThrow(
          /interface\[0\].*no-such-filter/,
        );
        expect(masterOf(tap)).toBe('far');
        expect(limits()).toMatch(/rate 16Mbit/);
        expect(await xmlOf(name)).toContain("source bridge='far'");
        await client.call('domain.update-device', { domain: name, xml: xml('far') });
        expect(limits()).toBe('');
        expect(rules()).not.toContain(tap);
        await client.call('domain.detach-device', { domain: name, device: mac });
        await misses(name, new RegExp(mac));
        await eventually('the card is gone', async () => !(await xmlOf(name)).includes(mac));
        expect(await xmlOf(name, true)).not.toContain(mac);
        expect(links()).toEqual(before);
      });

      it('are generators, channels, and what sits on USB', async () => {
        const plugged: string[] = [];
        for (const xml of [
          "<rng model='virtio'><backend model='random'>/dev/urandom</backend></rng>",
          "<channel type='pty'><target type='virtio' name='org.example.0'/></channel>",
          "<channel type='unix'><target type='virtio' name='org.example.1'/></channel>",
          "<input type='tablet' bus='usb'/>",
          "<serial type='pty'><target type='usb-serial'/></serial>",
        ])
          plugged.push(
            (await client.call('domain.attach-device', { domain: name, xml, live: true })).alias ?? '',
          );
        await sees(name, /rng:1 ports:2/);
        await expectTidy(name);
        for (const alias of plugged) await removed(name, alias);
        await sees(name, /rng:0 ports:0/);
        await expectTidy(name);
      });

      it('are media in its drive', async () => {
        const [one, two] = [image(`${name}-one.iso`, 2), image(`${name}-two.iso`, 3)];
        for (const [medium, size] of [
          [one, 4096],
          [two, 6144],
        ] as const) {
          await client.call('domain.change-media', { domain: name, device: cards.drive, path: medium.file });
          await sees(name, new RegExp(`sr0:${size}:${medium.hash}`));
          expect(await xmlOf(name, true)).toContain(medium.file);
        }
        await expect(
          client.call('domain.change-media', {
            domain: name,
            device: cards.drive,
            path: path('nothing.iso'),
          }),
        ).rejects.toThrow(expect.objectContaining({ code: 'file.not-found' }));
        expect(await xmlOf(name)).toContain(two.file);
        await client.call('domain.change-media', { domain: name, device: cards.drive, path: null });
        expect(await xmlOf(name)).not.toContain('.iso');
        expect(await xmlOf(name, true)).not.toContain('.iso');
        await expectTidy(name);
      });

      it("come, change and go by virsh's own commands, which print what they print with libvirtd", async () => {
        const mac = '52:54:00:00:66:02';
        const { file } = image(`${name}-virsh.img`, 9);
        const medium = image(`${name}-virsh.iso`, 4).file;
        const nic = path(`${name}-nic.xml`);
        writeFileSync(
          nic,
          `<interface type='bridge'><mac address='${mac}'/><source bridge='near'/><model type='virtio'/></interface>`,
        );
        for (const [args, answer] of [
          [['attach-disk', name, file, 'vdx', '--live'], 'Disk attached successfully'],
          [['attach-device', name, nic], 'Device attached successfully'],
          [['domif-setlink', name, mac, 'down'], 'Device updated successfully'],
          [['domif-getlink', name, mac], `${mac} down`],
          [['change-media', name, cards.drive, medium, '--insert'], 'Successfully inserted media.'],
          [['change-media', name, cards.drive, '--eject'], 'Successfully ejected media.'],
          [['detach-interface', name, 'bridge', mac], 'Interface detached successfully'],
          [['detach-disk', name, 'vdx'], 'Disk detached successfully'],
        ] as const)
          expect(virsh(...args)).toBe(answer);
        await misses(name, /:18432:/);
        await misses(name, new RegExp(mac));
        expect(() => virsh('detach-device-alias', name, 'net7')).toThrow(/device not found/);
        await expectTidy(name);
      });

      it('that cannot be plugged are refused by name, and leave nothing', async () => {
        const before = await xmlOf(name);
        for (const [xml, reason] of [
          ["<sound model='ich9'/>", /sound: such a device/],
          ["<disk type='file'><source file='/dev/null'/><target dev='hdd' bus='ide'/></disk>", /bus ide/],
          ["<filesystem><source dir='/'/><target dir='x'/></filesystem>", /9p/],
        ] as const)
          await expect(
            client.call('domain.attach-device', { domain: name, xml, live: true }),
          ).rejects.toThrow(reason);
        await expect(
          client.call('domain.attach-device', { domain: name, disk: { path: path('missing.img') } }),
        ).rejects.toThrow(expect.objectContaining({ code: 'file.not-found' }));
        expect(await xmlOf(name)).toBe(before);
        await expectTidy(name);
      });
    });

    describe('of a guest that does not answer', () => {
      const name = 'plug-deaf';
      beforeAll(() => start(name, machines[0] as Cards));
      afterAll(() => client.call('domain.destroy', { domain: name }));

      const attach = (file: string) =>
        client.call('domain.attach-device', {
          domain: name,
          disk: { path: file, format: 'raw' },
          live: true,
        });

      it('stay until it lets go of them, and are told to be gone then', async () => {
        const { alias } = await attach(image('late.img', 5).file);
        await sees(name, /:10240:/);
        const events = await client.subscribe({ events: ['domain.device-removed'] });
        await client.call('domain.suspend', { domain: name });
        const { released } = await client.call('domain.detach-device', {
          domain: name,
          device: 'vda',
          live: true,
        });
        expect(released).toBe(false);
        expect(await xmlOf(name)).toContain('late.img');
        await client.call('domain.resume', { domain: name });
        expect((await events.next()).value).toMatchObject({ event: 'domain.device-removed', alias });
        await events.close();
        expect(await xmlOf(name)).not.toContain('late.img');
        await expectTidy(name);
      });

      it('are found again by a new daemon, gone or not', async () => {
        await attach(image('kept.img', 5).file);
        const { alias } = await attach(image('gone.img', 6).file);
        await sees(name, /:12288:/);
        await client.call('domain.suspend', { domain: name });
        await client.call('domain.detach-device', { domain: name, device: alias ?? '', live: true });
        await daemon.end('SIGKILL');
        // Nobody listens when the guest lets go.
        daemon = await TestDaemon.start({ root: daemon.root, inside: ['ip', 'netns', 'exec', space] });
        client = await daemon.connect();
        await client.call('domain.resume', { domain: name });
        await eventually('the removal', async () => !(await xmlOf(name)).includes('gone.img'));
        expect(await xmlOf(name)).toContain('kept.img');
        await expectTidy(name);
        await removed(name, 'vda');
        await expectTidy(name);
      });

      it('are whole or not there when the daemon is killed on the way', async () => {
        for (const delayMs of [0, 10, 25, 60, 150]) {
          const { file } = image(`killed-${delayMs}.img`, 5);
          const lost = attach(file).catch(() => undefined);
          await new Promise((resolve) => setTimeout(resolve, delayMs));
          await daemon.end('SIGKILL');
          await lost;
          daemon = await TestDaemon.start({ root: daemon.root, inside: ['ip', 'netns', 'exec', space] });
          client = await daemon.connect();
          await expectTidy(name);
          const xml = await xmlOf(name);
          if (xml.includes(file)) await removed(name, /target dev='(vd\w)'/.exec(xml)?.[1] ?? '');
          else await attach(file).then(({ alias }) => removed(name, alias ?? ''));
          await expectTidy(name);
        }
      });
    });
  },
);
