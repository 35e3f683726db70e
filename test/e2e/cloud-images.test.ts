/** Cloud images end to end: a server with a distribution's layout, the catalogue, imports, and guests that boot from them. */
import { execFileSync, spawn } from 'node:child_process';
import { createHash, randomBytes } from 'node:crypto';
import { chmodSync, mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { expect, it, onTestFinished } from 'vitest';
import { eventually, project, qemuProcesses, TestDaemon } from '../support/daemon.ts';
import { FileServer } from '../support/file-server.ts';
import { littleLinux, startScript, writeTinyGuest } from '../support/guest-image.ts';
import { describeWith } from '../support/needs.ts';

const IMAGE = '/debian/trixie/latest/debian-13-genericcloud-amd64.qcow2';
const SUMS = '/debian/trixie/latest/SHA512SUMS';
const KEY =
  'ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIC1j6lIGNSK49Phk7gkJbYw0zCG6nLYXEWvKKY89O7ww somebody@somewhere';

/** A daemon whose mirror of Debian is a server here that serves a guest of one sector. */
async function start(mode: 'system' | 'session' = 'system') {
  const server = await FileServer.start();
  onTestFinished(() => server.stop());
  const root = execFileSync('mktemp', ['-d', '/tmp/vireo-cloud-XXXXXX'], { encoding: 'utf8' }).trim();
  mkdirSync(join(root, 'etc/vireo'), { recursive: true, mode: 0o700 });
  writeFileSync(
    join(root, 'etc/vireo/vireod.toml'),
    `[network]\ndefine_default = false\n[storage]\nallow_import_urls = ["https://", "${server.origin}/"]\n[catalogue]\ndebian = "${server.origin}/debian"\n`,
  );
  mkdirSync(join(root, '.ssh'), { mode: 0o700 });
  writeFileSync(join(root, '.ssh/id_ed25519.pub'), `${KEY}\n`);
  publish(server, root);
  const running = { daemon: await TestDaemon.start({ mode, root }) };
  onTestFinished(() => running.daemon.remove());
  const images = join(root, 'var/lib/libvirt/images');
  const vireo = (...args: string[]) => runVireo(root, args);
  return { server, root, running, images, vireo };
}

function publish(server: FileServer, directory: string): void {
  const raw = join(directory, 'tiny.raw');
  writeTinyGuest(raw);
  const path = join(directory, 'tiny.qcow2');
  execFileSync('qemu-img', ['convert', '-f', 'raw', '-O', 'qcow2', raw, path]);
  const image = readFileSync(path);
  const hash = createHash('sha512').update(image).digest('hex');
  server.files.set(IMAGE, image);
  server.files.set(SUMS, Buffer.from(`${hash}  debian-13-genericcloud-amd64.qcow2\n`));
}

async function runVireo(root: string, args: readonly string[], input?: Buffer) {
  const child = spawn(join(project, 'bin/vireo'), ['--root', root, ...args], {
    stdio: ['pipe', 'pipe', 'pipe'],
    env: { PATH: process.env['PATH'], HOME: root, TMPDIR: root },
  });
  let text = '';
  child.stdout.on('data', (chunk: Buffer) => (text += chunk.toString('latin1')));
  child.stderr.on('data', (chunk: Buffer) => (text += chunk.toString('latin1')));
  child.stdin.on('error', () => undefined); // It may give up before it has read all.
  if (input !== undefined) child.stdin.end(input);
  const code = await new Promise<number | null>((done) => child.on('close', done));
  return { code, text };
}

const hitsOf = (server: FileServer, path: string) => server.hits.filter((hit) => hit.path === path).length;

describeWith(['root', 'qemu-system-x86_64', 'qemu-img'], 'cloud images', () => {
  it('are pulled once, checked, and shown', async () => {
    const { server, images, vireo } = await start();
    expect(await vireo('image', 'list')).toMatchObject({
      code: 0,
      text: expect.stringContaining('No image'),
    });
    expect((await vireo('image', 'search', 'trixie')).text).toContain('debian:13');
    const pulled = await vireo('image', 'pull', 'debian:trixie');
    expect(pulled, pulled.text).toMatchObject({ code: 0 });
    const [name = ''] = readdirSync(images);
    expect(name).toMatch(/^debian-13-x86_64-[0-9a-f]{12}\.qcow2$/);
    expect(readFileSync(join(images, name)).equals(server.files.get(IMAGE) ?? Buffer.alloc(0))).toBe(true);
    expect(statSync(join(images, name)).mode & 0o777).toBe(0o444);
    expect((await vireo('image', 'pull', 'debian')).text).toContain('here already');
    expect(hitsOf(server, IMAGE)).toBe(1);
    expect((await vireo('image', 'list')).text).toContain(name);
  });

  it.each(['system', 'session'] as const)('run in %s mode, and leave nothing but the image', async (mode) => {
    const { root, images, vireo } = await start(mode);
    const ran = await vireo('run', 'debian:13', '--type', 'qemu', '--memory', '64MiB');
    expect(ran, ran.text).toMatchObject({ code: 0 });
    expect(ran.text).toContain("Log in here as 'debian', password: ");
    expect(ran.text).toMatch(/ssh -p \d+ debian@127\.0\.0\.1/);
    expect(ran.text).toContain('TINY-GUEST alive');
    expect(qemuProcesses(root)).toEqual([]);
    expect(readdirSync(images)).toEqual([expect.stringMatching(/^debian-13-/)]);
    expect(readdirSync(join(root, 'etc/vireo/domains'))).toEqual([]);
  });

  it('give a lasting domain a disk of its own, and a seed that its Linux can read', async () => {
    const { root, images, running, vireo } = await start();
    const look = `#!/bin/busybox sh
exec >/dev/ttyS0
dd if=/dev/vdb bs=2048 skip=16 count=1 2>/dev/null | grep -aoi cidata | sed 's/^/label: /'
mkdir -p /seed && mount -t iso9660 -o ro /dev/vdb /seed && ls /seed | sed 's/^/seed: /'
head -n 1 /seed/user-data
grep -o 'local-hostname.*' /seed/meta-data
grep -o 'ssh-ed25519 AAAA[A-Za-z0-9+/]*' /seed/user-data | head -n 1 | sed 's/^/key: /'
dd if=/dev/vda bs=512 count=1 2>/dev/null | grep -ao TINY-GUEST
echo written | dd of=/dev/vda bs=512 seek=4096 conv=fsync 2>/dev/null
poweroff -f
`;
    const { kernel, initrd } = await littleLinux(join(root, 'linux'), [startScript(look)]);
    const created = await vireo(
      ...['domain', 'create', '--name', 'web', '--image', 'debian:13', '--disk-size', '1GiB'],
      ...['--type', 'qemu', '--memory', '256MiB', '--kernel', kernel, '--initrd', initrd],
      ...['--cmdline', 'console=ttyS0 quiet no_timer_check', '--network', 'user', '--start'],
    );
    expect(created, created.text).toMatchObject({ code: 0, text: expect.stringContaining('ssh debian@') });
    const client = await running.daemon.connect();
    const said = async () => (await client.call('domain.log', { domain: 'web', source: 'console' })).text;
    await eventually('the guest has looked', async () => (await said()).includes('TINY-GUEST'), 120_000);
    // As cloud-init finds it (its docs, "NoCloud"): by the label, and these files on it.
    for (const line of [
      /label: cidata/i,
      /seed: meta-data/,
      /seed: user-data/,
      /^#cloud-config/m,
      /local-hostname\W+web\b/,
    ])
      expect(await said()).toMatch(line);
    expect(await said()).toContain(`key: ${KEY.split(' ').slice(0, 2).join(' ')}`);
    await eventually(
      'it is off',
      async () => !(await client.call('domain.get', { domain: 'web' })).active,
      60_000,
    );
    const base = readdirSync(images).find((name) => name.startsWith('debian-13-')) ?? '';
    const disk = await client.call('volume.get', { pool: 'default', volume: 'web.qcow2' });
    expect(disk).toMatchObject({
      capacityBytes: 2 ** 30,
      backing: { path: join(images, base), format: 'qcow2' },
    });
    execFileSync('qemu-img', ['check', '-q', join(images, 'web.qcow2')]);
    await expect(client.call('volume.delete', { pool: 'default', volume: base })).rejects.toMatchObject({
      code: 'volume.in-use',
    });
    await client.close();
    const copied = await vireo(
      'create',
      '--name',
      'own',
      '--image',
      'debian:13',
      '--full-copy',
      '--disk-size',
      '1GiB',
    );
    expect(copied, copied.text).toMatchObject({ code: 0 });
    const info = execFileSync('qemu-img', ['info', '--output=json', join(images, 'own.qcow2')]).toString();
    expect(JSON.parse(info)).toMatchObject({ 'virtual-size': 2 ** 30 });
    expect(info).not.toContain('backing');
    const again = await vireo('create', '--name', 'own', '--image', 'debian:13');
    expect(again.text).toContain('a domain of that name exists already');
  });

  it('that cannot be had say why, and leave nothing', async () => {
    const { server, images, vireo } = await start();
    const sums = server.files.get(SUMS) ?? Buffer.alloc(0);
    server.files.set(SUMS, Buffer.from(sums.toString().replace(/^.{8}/, '00000000')));
    expect((await vireo('image', 'pull', 'debian:13')).text).toContain('its sha512 is');
    server.files.set(IMAGE, execEvil(images));
    const hash = createHash('sha512')
      .update(server.files.get(IMAGE) ?? '')
      .digest('hex');
    server.files.set(SUMS, Buffer.from(`${hash}  debian-13-genericcloud-amd64.qcow2\n`));
    expect((await vireo('run', 'debian:13', '--type', 'qemu')).text).toContain(
      "names another image, '/etc/passwd'",
    );
    server.files.delete(SUMS);
    const missing = await vireo('image', 'pull', 'debian:13');
    expect(missing.text).toContain(`${server.origin}${SUMS}: the server answered 404`);
    expect(missing.text).toContain("'debian' in the section [catalogue] of vireod.toml");
    expect(readdirSync(images)).toEqual([]);
  });

  it('are not used when somebody changed them', async () => {
    const { images, vireo } = await start();
    await vireo('image', 'pull', 'debian:13');
    const path = join(images, readdirSync(images)[0] ?? '');
    chmodSync(path, 0o644);
    expect(await vireo('create', '--name', 'a', '--image', 'debian:13')).toMatchObject({ code: 0 });
    const bytes = readFileSync(path);
    bytes[bytes.length - 1] = 1;
    writeFileSync(path, bytes);
    const refused = await vireo('create', '--name', 'b', '--image', 'debian:13');
    expect(refused.code).not.toBe(0);
    expect(refused.text).toContain('was changed after it was pulled');
  });
});

/** An image that names a file of the host. */
function execEvil(directory: string): Buffer {
  const path = join(directory, '..', 'evil.qcow2');
  execFileSync('qemu-img', ['create', '-q', '-f', 'qcow2', '-b', '/etc/passwd', '-F', 'raw', path, '64K']);
  return readFileSync(path);
}

describeWith(['root', 'qemu-img', 'xz', 'bzip2'], 'imports', () => {
  it('go on where a daemon that was killed had been', async () => {
    const { server, running, images } = await start();
    const body = randomBytes(3_000_000);
    const etag = `"${createHash('sha256').update(body).digest('hex').slice(0, 16)}"`;
    server.files.set('/big.img', body);
    server.tricks.set('/big.img', [
      (_request, response) => {
        response.writeHead(200, { 'content-length': body.length, etag });
        response.write(body.subarray(0, 1_000_000)); // and hangs
      },
    ]);
    let client = await running.daemon.connect();
    await client.call('pool.get', { pool: 'default' });
    const url = `${server.origin}/big.img`;
    const wish = { pool: 'default', name: 'big.img', url };
    const cut = client.call('volume.import', wish).catch(() => undefined); // It dies with its daemon.
    const part = () =>
      readdirSync(images).find((name) => name.startsWith('.vireo-part-') && !name.endsWith('.json'));
    await eventually('some has come', () => {
      const name = part();
      return name !== undefined && statSync(join(images, name)).size === 1_000_000;
    });
    running.daemon = await running.daemon.crashAndRestart();
    await cut;
    client = await running.daemon.connect();
    expect((await client.call('volume.list', { pool: 'default' })).volumes).toEqual([]);
    const sha256 = createHash('sha256').update(body).digest('hex');
    expect(await client.call('volume.import', { ...wish, checksum: `sha256:${sha256}` })).toMatchObject({
      volume: { name: 'big.img', format: 'raw', capacityBytes: body.length },
      sha256,
    });
    expect(server.hits.at(-1)?.range).toBe('bytes=1000000-');
    expect(readdirSync(images)).toEqual(['big.img']);
    await client.close();
  });

  it('can be called off, as a job that tells how far it is', async () => {
    const { server, running, images } = await start();
    const body = randomBytes(1_000_000);
    server.files.set('/slow.img', body);
    server.tricks.set('/slow.img', [
      (_request, response) => {
        response.writeHead(200, { 'content-length': body.length }); // Without an ETag it cannot be resumed.
        response.write(body.subarray(0, 250_000));
      },
    ]);
    const client = await running.daemon.connect();
    const url = `${server.origin}/slow.img`;
    const importing = client.call('volume.import', { pool: 'default', name: 'slow.img', url });
    const failed = importing.catch((error: unknown) => error);
    const other = await running.daemon.connect();
    const job = async () => (await other.call('job.list', { type: 'volume' })).jobs[0];
    await eventually('a quarter is here', async () => (await job())?.done === 250_000);
    expect(await job()).toMatchObject({
      job: 'import',
      step: 'downloading',
      total: body.length,
      unit: 'bytes',
      cancellable: true,
    });
    await other.call('job.cancel', { id: (await job())?.id ?? '' });
    expect(await failed).toMatchObject({ code: 'operation.aborted' });
    expect(readdirSync(images)).toEqual([]);
    await client.close();
    await other.close();
  });

  it('take files of the user in any packing, and convert them', async () => {
    const { root, images, vireo } = await start();
    const raw = join(root, 'tiny.raw');
    for (const [program, suffix] of [
      ['xz', 'xz'],
      ['bzip2', 'bz2'],
      ['gzip', 'gz'],
    ] as const) {
      execFileSync(program, ['--keep', '--force', raw]);
      const done = await vireo('volume', 'import', `${raw}.${suffix}`, '--name', `${program}.img`);
      expect(done, done.text).toMatchObject({ code: 0 });
      expect(readFileSync(join(images, `${program}.img`)).equals(readFileSync(raw))).toBe(true);
    }
    const piped = await runVireo(
      root,
      ['volume', 'import', '-', '--name', 'p.qcow2', '--format', 'qcow2', '--size', '1GiB'],
      readFileSync(raw),
    );
    expect(piped, piped.text).toMatchObject({ code: 0 });
    execFileSync('qemu-img', ['check', '-q', join(images, 'p.qcow2')]);
    execFileSync('qemu-img', [
      'convert',
      '-f',
      'qcow2',
      '-O',
      'raw',
      join(images, 'p.qcow2'),
      join(root, 'back.raw'),
    ]);
    expect(readFileSync(join(root, 'back.raw')).subarray(0, 65_536).equals(readFileSync(raw))).toBe(true);
    writeFileSync(`${raw}.xz`, readFileSync(`${raw}.xz`).subarray(0, 60));
    expect((await vireo('volume', 'import', `${raw}.xz`, '--name', 'broken.img')).text).toContain(
      'the compressed data is broken',
    );
    writeFileSync(join(root, 'evil.qcow2'), execEvil(images));
    expect((await vireo('volume', 'import', join(root, 'evil.qcow2'))).text).toContain('backing file');
    expect(readdirSync(images).sort()).toEqual(['bzip2.img', 'gzip.img', 'p.qcow2', 'xz.img']);
  });

  it('leave nothing on a disk that is full', async () => {
    const { server, root, running } = await start();
    const small = join(root, 'small');
    mkdirSync(small);
    execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=2m', 'tmpfs', small]);
    try {
      const client = await running.daemon.connect();
      await client.call('pool.create', { name: 'small', path: small, start: true });
      const body = randomBytes(3 * 1024 * 1024);
      server.files.set('/big.img', body);
      const packed = gzipSync(
        Buffer.concat([body.subarray(0, 1024 * 1024), Buffer.alloc(4 * 1024 * 1024, 'x')]),
      );
      server.files.set('/packed.gz', packed);
      const fetched = (path: string) =>
        client.call('volume.import', { pool: 'small', name: 'a.img', url: `${server.origin}${path}` });
      await expect(fetched('/big.img')).rejects.toMatchObject({
        code: 'file.no-space',
        message: expect.stringContaining('are free in'),
      });
      server.tricks.set('/big.img', [(_request, response) => void response.writeHead(200).end(body)]);
      await expect(fetched('/big.img')).rejects.toMatchObject({ code: 'file.no-space' });
      await expect(fetched('/packed.gz')).rejects.toMatchObject({ code: 'file.no-space' });
      const sent = await runVireo(
        root,
        ['volume', 'import', '-', '--pool', 'small', '--name', 'a.img'],
        body,
      );
      expect(sent.text).toContain('no space left');
      expect(readdirSync(small)).toEqual([]);
      await client.close();
    } finally {
      execFileSync('umount', ['--lazy', small]);
    }
  });

  it('fetch nothing that the configuration does not name', async () => {
    const { running, images } = await start();
    const client = await running.daemon.connect();
    for (const url of [
      'file:///etc/shadow',
      'http://169.254.169.254/',
      'https://localhost/x',
      'http://127.0.0.1:1/x',
    ])
      await expect(client.call('volume.import', { pool: 'default', name: 'x', url })).rejects.toMatchObject({
        code: 'download.refused',
      });
    expect(readdirSync(images)).toEqual([]);
    await client.close();
  });
});
