/** Chains of images through a whole daemon: the guest sees what lies below, and nothing that a header should not open. */
import { execFileSync } from 'node:child_process';
import { mkdirSync, readFileSync, rmSync, symlinkSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, expect, it } from 'vitest';
import type { VireoClient } from '../../src/api/client.ts';
import { TestDaemon } from '../support/daemon.ts';
import { writeTinyGuest } from '../support/guest-image.ts';
import { describeWith } from '../support/needs.ts';

describeWith(['root', 'qemu-system-x86_64', 'qemu-img'], 'a disk with images below it', () => {
  let daemon: TestDaemon;
  let client: VireoClient;
  beforeAll(async () => {
    daemon = await TestDaemon.start();
    client = await daemon.connect();
    writeTinyGuest(at('base.raw'));
    truncateSync(at('base.raw'), 1024 * 1024);
  });
  afterAll(() => daemon.remove());
  afterEach(async () => {
    for (const { uuid, active } of (await client.call('domain.list')).domains) {
      if (active) await client.call('domain.destroy', { domain: uuid });
      await client.call('domain.undefine', { domain: uuid });
    }
  });

  const at = (name: string): string => join(daemon.root, name);

  /** qemu-img create on top of what `backing` names, as it stands. */
  function overlay(name: string, backing: string, format: string, ...more: string[]): string {
    execFileSync('qemu-img', [
      'create',
      '-q',
      '-f',
      'qcow2',
      '-u',
      '-b',
      backing,
      '-F',
      format,
      ...more,
      at(name),
      '1M',
    ]);
    return at(name);
  }

  /** As overlay, with the format taken out again: qemu-img makes no such image any more, older ones did. */
  function overlayWithout(name: string, backing: string): string {
    const image = readFileSync(overlay(name, backing, 'raw'));
    image.writeUInt32BE(0x0bad_0bad, image.indexOf(Buffer.from('e2792aca', 'hex')));
    writeFileSync(at(name), image);
    return at(name);
  }

  const disk = (path: string, format = 'qcow2', inner = '') =>
    `<disk type='file' device='disk'><driver name='qemu' type='${format}'/><source file='${path}'/>${inner}
     <target dev='hda' bus='ide'/></disk>`;

  async function define(disks: string): Promise<void> {
    const xml = `<domain type='qemu'><name>chain</name><memory unit='MiB'>32</memory>
      <os><type machine='pc'>hvm</type></os><devices>${disks}<serial type='pty'/></devices></domain>`;
    await client.call('domain.define', { xml });
  }

  /** Boots the guest; the boot sector that speaks is in the lowest image only. */
  async function said(): Promise<string> {
    await client.call('domain.start', { domain: 'chain', paused: true });
    const { stream } = await client.upgrade('domain.console', { domain: 'chain' });
    await client.call('domain.resume', { domain: 'chain' });
    let text = '';
    for await (const chunk of stream) {
      text += String(chunk);
      if (text.includes('alive')) break;
    }
    return text;
  }

  /** While that directory is an active pool. */
  async function withPool(path: string, work: () => Promise<void>): Promise<void> {
    await client.call('pool.create', { name: 'bases', path, start: true });
    try {
      await work();
    } finally {
      await client.call('pool.stop', { pool: 'bases' });
      await client.call('pool.undefine', { pool: 'bases' });
    }
  }

  it('boots from the lowest image, and the running definition tells the whole chain', async () => {
    mkdirSync(at('sub'));
    symlinkSync(daemon.root, at('sub/link'));
    overlay('middle.qcow2', 'base.raw', 'raw');
    // `..` is meant behind the link, as the kernel reads it.
    overlay('sub/top.qcow2', '../middle.qcow2', 'qcow2');
    await define(disk(at('sub/top.qcow2')));
    await withPool(daemon.root, async () => expect(await said()).toContain('TINY-GUEST alive'));
    const { xml } = await client.call('domain.xml', { domain: 'chain' });
    const chain = xml.slice(xml.indexOf('<disk'), xml.indexOf('</disk>')).replaceAll(/>\s+</g, '><');
    expect(chain).toContain(
      `<source file='${at('sub/top.qcow2')}' index='1'/><backingStore type='file' index='2'><format type='qcow2'/>` +
        `<source file='${at('middle.qcow2')}'/><backingStore type='file' index='3'><format type='raw'/>` +
        `<source file='${at('base.raw')}'/><backingStore/></backingStore></backingStore>`,
    );
    const { xml: stored } = await client.call('domain.xml', { domain: 'chain', inactive: true });
    expect(stored).not.toContain('backingStore');
  });

  it('keeps its chain for the next daemon', async () => {
    overlay('kept.qcow2', at('base.raw'), 'raw');
    await define(disk(at('kept.qcow2')));
    await client.call('domain.start', { domain: 'chain' });
    const before = (await client.call('domain.xml', { domain: 'chain' })).xml;
    await client[Symbol.asyncDispose]();
    daemon = await daemon.crashAndRestart();
    client = await daemon.connect();
    expect((await client.call('domain.xml', { domain: 'chain' })).xml).toBe(before);
    expect(before).toContain(`<source file='${at('base.raw')}'/>`);
  });

  it('follows what the definition says, and the headers from there on', async () => {
    overlay('middle.qcow2', 'base.raw', 'raw');
    // The header names something else, which the definition overrules.
    overlay('top.qcow2', '/nonexistent', 'raw');
    const store = `<backingStore type='file'><format type='qcow2'/><source file='${at('middle.qcow2')}'/></backingStore>`;
    await define(disk(at('top.qcow2'), 'qcow2', store));
    expect(await said()).toContain('TINY-GUEST alive');
  });

  it('says itself what lies below in another directory, when a snapshot put it there', async () => {
    mkdirSync(at('away'));
    overlay('lower.qcow2', 'base.raw', 'raw');
    await define(disk(at('lower.qcow2')));
    await client.call('domain.start', { domain: 'chain' });
    await client.call('snapshot.create', {
      domain: 'chain',
      name: 'one',
      diskOnly: true,
      disks: [{ target: 'hda', location: 'external', path: at('away/upper.qcow2') }],
    });
    await client.call('domain.destroy', { domain: 'chain' });
    const { xml } = await client.call('domain.xml', { domain: 'chain', inactive: true });
    expect(xml.replaceAll(/>\s+</g, '><')).toContain(
      `<source file='${at('away/upper.qcow2')}'/><backingStore type='file'><format type='qcow2'/><source file='${at('lower.qcow2')}'/></backingStore>`,
    );
    expect(await said()).toContain('TINY-GUEST alive');
    await client.call('domain.destroy', { domain: 'chain' });
    await client.call('snapshot.delete', { domain: 'chain', snapshot: 'one' });
  });

  it('stays raw when it is said to be raw, whatever a guest wrote into it', async () => {
    overlay('hostile.img', '/etc/shadow', 'raw');
    await define(disk(at('hostile.img'), 'raw'));
    await client.call('domain.start', { domain: 'chain' });
    expect((await client.call('domain.xml', { domain: 'chain' })).xml).not.toContain('shadow');
  });

  const refused: Readonly<Record<string, { make: () => string; reason: RegExp }>> = {
    'a backing file without a format': {
      make: () => overlayWithout('noformat.qcow2', at('base.raw')),
      reason: /not that file's format/,
    },
    'a json: name': {
      make: () => overlay('json.qcow2', 'json:{"driver":"file","filename":"/etc/shadow"}', 'raw'),
      reason: /which is no path/,
    },
    'an nbd: name': {
      make: () => overlay('nbd.qcow2', 'nbd://127.0.0.1:1/x', 'raw'),
      reason: /which is no path/,
    },
    'a loop': {
      make: () => {
        overlay('loop-a.qcow2', 'loop-b.qcow2', 'qcow2');
        return overlay('loop-b.qcow2', 'loop-a.qcow2', 'qcow2');
      },
      reason: /back to itself/,
    },
    'an external data file': {
      make: () => {
        const name = at('external.qcow2');
        const options = `data_file=${at('data.raw')}`;
        execFileSync('qemu-img', ['create', '-q', '-f', 'qcow2', '-o', options, name, '1M']);
        return name;
      },
      reason: /data is in another file/,
    },
    encryption: {
      make: () => {
        // Not luks, whose creation measures the CPU and now and then fails over that.
        const secret = ['--object', 'secret,id=s,data=abc'];
        const options = 'encrypt.format=aes,encrypt.key-secret=s';
        execFileSync('qemu-img', [
          'create',
          '-q',
          '-f',
          'qcow2',
          ...secret,
          '-o',
          options,
          at('encrypted.qcow2'),
          '1M',
        ]);
        return at('encrypted.qcow2');
      },
      reason: /encrypted \(aes\)/,
    },
    'a directory below': {
      make: () => {
        mkdirSync(at('directory'));
        return overlay('dir.qcow2', 'directory', 'raw');
      },
      reason: /not a regular file/,
    },
    'a file elsewhere that no pool has': {
      make: () => overlay('elsewhere.qcow2', '/etc/shadow', 'raw'),
      reason: /'\/etc\/shadow' as the image below it, which is neither beside it nor in an active pool/,
    },
    'an image that is not of its format': { make: () => at('base.raw'), reason: /no qcow2 image/ },
  };
  for (const [what, { make, reason }] of Object.entries(refused))
    it(`is refused with ${what}, and told why and where`, async () => {
      await define(disk(make()));
      await expect(client.call('domain.start', { domain: 'chain' })).rejects.toThrow(
        expect.objectContaining({ code: 'definition.unsupported', message: expect.stringMatching(reason) }),
      );
    });

  it('is not started when an image below is missing, and says which', async () => {
    overlay('orphan.qcow2', 'gone.raw', 'raw');
    await define(disk(at('orphan.qcow2')));
    await expect(client.call('domain.start', { domain: 'chain' })).rejects.toThrow(/gone\.raw: no such file/);
  });

  it('is refused above 200 images', async () => {
    const directory = at('deep');
    mkdirSync(directory);
    // The same small file under many names, each naming the next: hard links would be a loop, so it is written anew.
    overlay('deep/000.qcow2', 'NEXT.qcow2', 'qcow2');
    const template = readFileSync(at('deep/000.qcow2'));
    for (let i = 0; i <= 201; i++) {
      const image = Buffer.from(template);
      image.write(`${String(i + 1).padStart(4, '0')}.qcow2`, image.indexOf('NEXT.qcow2'));
      writeFileSync(join(directory, `${String(i).padStart(4, '0')}.qcow2`), image);
    }
    await define(disk(join(directory, '0000.qcow2')));
    await expect(client.call('domain.start', { domain: 'chain' })).rejects.toThrow(/more than 200 images/);
    rmSync(directory, { recursive: true });
  });

  it('in an optional drive that is missing leaves the drive empty, and is an error elsewhere', async () => {
    const drive = (policy: string) =>
      `<disk type='file' device='cdrom'><driver name='qemu' type='raw'/>
       <source file='/nonexistent/cd.iso' startupPolicy='${policy}'/><target dev='hdc' bus='ide'/></disk>`;
    await define(disk(at('base.raw'), 'raw') + drive('optional'));
    await client.call('domain.start', { domain: 'chain', paused: true });
    const { xml } = await client.call('domain.xml', { domain: 'chain' });
    expect(xml).not.toContain('cd.iso');
    expect(xml).toContain("device='cdrom'");
    await client.call('domain.destroy', { domain: 'chain' });
    for (const policy of ['mandatory', 'requisite']) {
      await define(disk(at('base.raw'), 'raw') + drive(policy));
      await expect(client.call('domain.start', { domain: 'chain' })).rejects.toThrow(/cd\.iso: no such file/);
    }
  });
});
