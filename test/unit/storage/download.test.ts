/** Downloads: resumed where they broke off, checked as they come, and only from where they may come. */
import { createHash, randomBytes } from 'node:crypto';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { gzipSync, zstdCompressSync } from 'node:zlib';
import { describe, expect, it, onTestFinished, vi } from 'vitest';
import { parseChecksum } from '../../../src/storage/download/checksum.ts';
import { compressionOf, decompress } from '../../../src/storage/download/decompress.ts';
import { download, partNoteOf } from '../../../src/storage/download/download.ts';
import { inspectForeign } from '../../../src/storage/download/inspect.ts';
import { getText } from '../../../src/storage/download/request.ts';
import { checkAddress, checkUrl, redirected } from '../../../src/storage/download/url.ts';
import { breakAfter, FileServer } from '../../support/file-server.ts';
import { qcow2 } from '../../support/qcow2-header.ts';

function directory(): string {
  const path = mkdtempSync(join(tmpdir(), 'vireo-download-'));
  onTestFinished(() => rmSync(path, { recursive: true, force: true }));
  return path;
}

async function server(): Promise<FileServer> {
  const started = await FileServer.start();
  onTestFinished(() => started.stop());
  return started;
}

const sha256 = (bytes: Buffer) => createHash('sha256').update(bytes).digest('hex');
const wanted = 'import it';

function requestFor(files: FileServer, path: string, more: object = {}) {
  return {
    url: `${files.origin}/a.img`,
    path,
    policy: { allowed: [`${files.origin}/`] },
    wanted,
    maxBytes: 10 * 1024 * 1024,
    ...more,
  };
}
const quick = { retryDelaysMs: [1, 1, 1] };

describe('a download', () => {
  it('brings the bytes, tells how far it is, and leaves no note', async () => {
    const files = await server();
    const body = randomBytes(700_000);
    files.files.set('/a.img', body);
    const path = join(directory(), 'a');
    const seen: (number | undefined)[] = [];
    const checksum = parseChecksum(`sha512:${createHash('sha512').update(body).digest('hex')}`);
    const done = await download(requestFor(files, path, { checksum }), {
      onProgress: (bytes, total) => seen.push(bytes, total),
    });
    expect(done).toEqual({ bytes: body.length, sha256: sha256(body) });
    expect(readFileSync(path).equals(body)).toBe(true);
    expect(seen.slice(-2)).toEqual([body.length, body.length]);
    expect(existsSync(partNoteOf(path))).toBe(false);
  });

  it('goes on where the connection broke', async () => {
    const files = await server();
    const body = randomBytes(500_000);
    files.files.set('/a.img', body);
    const etag = `"${sha256(body).slice(0, 16)}"`;
    files.tricks.set('/a.img', [breakAfter(body, 200_000, { etag })]);
    const path = join(directory(), 'a');
    expect((await download(requestFor(files, path), quick)).sha256).toBe(sha256(body));
    expect(files.hits.map(({ range }) => range)).toEqual([undefined, 'bytes=200000-']);
  });

  it('goes on after an earlier attempt was given up, and begins afresh when the file is another', async () => {
    const files = await server();
    const body = randomBytes(500_000);
    files.files.set('/a.img', body);
    const etag = `"${sha256(body).slice(0, 16)}"`;
    files.tricks.set('/a.img', [breakAfter(body, 100_000, { etag })]);
    const path = join(directory(), 'a');
    const once = { retryDelaysMs: [] };
    await expect(download(requestFor(files, path), once)).rejects.toMatchObject({ code: 'download.failed' });
    expect(statSync(path).size).toBe(100_000);
    expect((await download(requestFor(files, path), once)).sha256).toBe(sha256(body));
    expect(files.hits.at(-1)?.range).toBe('bytes=100000-');

    files.tricks.set('/a.img', [breakAfter(body, 100_000, { etag })]);
    await expect(download(requestFor(files, path), once)).rejects.toMatchObject({ code: 'download.failed' });
    const other = randomBytes(300_000);
    files.files.set('/a.img', other);
    expect((await download(requestFor(files, path), once)).sha256).toBe(sha256(other));
  });

  it('keeps nothing of what has another checksum, or is too large', async () => {
    const files = await server();
    files.files.set('/a.img', Buffer.alloc(100_000, 1));
    const place = directory();
    const path = join(place, 'a');
    const checksum = { algorithm: 'sha256', hex: '0'.repeat(64) };
    await expect(download(requestFor(files, path, { checksum }))).rejects.toMatchObject({
      code: 'download.checksum',
    });
    await expect(download(requestFor(files, path, { maxBytes: 99_999 }))).rejects.toMatchObject({
      code: 'request.too-large',
    });
    files.tricks.set('/a.img', [
      (_request, response) => {
        response.writeHead(200); // Says nothing of a length, and goes on and on.
        for (let i = 0; i < 20; i++) response.write(Buffer.alloc(10_000));
        response.end();
      },
    ]);
    await expect(download(requestFor(files, path, { maxBytes: 99_999 }))).rejects.toMatchObject({
      code: 'request.too-large',
    });
    expect(readdirSync(place)).toEqual([]);
  });

  it('can be called off', async () => {
    const files = await server();
    const body = randomBytes(300_000);
    files.tricks.set('/a.img', [
      (_request, response) => {
        response.writeHead(200, { 'content-length': body.length });
        response.write(body.subarray(0, 1000)); // and says nothing more
      },
    ]);
    const abort = new AbortController();
    const path = join(directory(), 'a');
    const work = { signal: abort.signal, onProgress: () => abort.abort() };
    await expect(download(requestFor(files, path), work)).rejects.toMatchObject({
      code: 'operation.aborted',
    });
  });

  it('tells the URL and the status when there is no such file, without trying again', async () => {
    const files = await server();
    await expect(download(requestFor(files, join(directory(), 'a')), quick)).rejects.toMatchObject({
      code: 'download.failed',
      message: expect.stringContaining(`${files.origin}/a.img: the server answered 404`),
    });
    expect(files.hits.length).toBe(1);
  });

  it('follows redirects to what may be fetched, and no other', async () => {
    const files = await server();
    files.files.set('/b.img', Buffer.from('bytes'));
    const to = (location: string) => (_request: unknown, response: import('node:http').ServerResponse) =>
      void response.writeHead(302, { location }).end();
    files.tricks.set('/a.img', [to('/b.img')]);
    const path = join(directory(), 'a');
    expect((await download(requestFor(files, path))).bytes).toBe(5);
    files.tricks.set('/a.img', [to('http://169.254.169.254/latest/meta-data/')]);
    await expect(download(requestFor(files, path))).rejects.toMatchObject({ code: 'download.refused' });
    files.tricks.set('/a.img', [to('file:///etc/shadow')]);
    await expect(download(requestFor(files, path))).rejects.toMatchObject({ code: 'download.refused' });
    files.tricks.set(
      '/a.img',
      Array.from({ length: 20 }, () => to('/a.img')),
    );
    await expect(download(requestFor(files, path), quick)).rejects.toMatchObject({ code: 'download.failed' });
  });
});

describe('what may be fetched', () => {
  const anything = { allowed: ['https://', 'http://'] };

  it('is http and https only, as the policy says', () => {
    for (const url of ['file:///etc/shadow', 'ftp://a/b', 'https://me:secret@a/b'])
      expect(() => checkUrl(url, anything, wanted)).toThrow(
        expect.objectContaining({ code: 'download.refused' }),
      );
    expect(() => checkUrl('nonsense', anything, wanted)).toThrow(
      expect.objectContaining({ code: 'request.invalid' }),
    );
    const narrow = { allowed: ['https://*.debian.org/images/'] };
    expect(checkUrl('https://cloud.debian.org/images/x', narrow, wanted).pathname).toBe('/images/x');
    for (const url of [
      'https://cloud.debian.org/images/../secret',
      'https://cloud.debian.org/images/%2e%2e/secret',
      'https://cloud.debian.org/imagesx',
      'https://cloud.debian.org:8443/images/x',
      'https://evildebian.org/images/x',
      'http://cloud.debian.org/images/x',
    ])
      expect(() => checkUrl(url, narrow, wanted)).toThrow(
        expect.objectContaining({ code: 'download.refused' }),
      );
  });

  it('is not on this host or its link, unless the host is named', () => {
    const internal = [
      '127.0.0.1',
      '::1',
      '169.254.169.254',
      'fe80::1',
      '0.0.0.0',
      '::ffff:127.0.0.1',
      '::ffff:7f00:1',
    ];
    const url = new URL('http://mirror.example/x');
    for (const address of internal)
      expect(() => checkAddress(address, url, anything, wanted)).toThrow(
        expect.objectContaining({ code: 'download.refused' }),
      );
    for (const address of ['192.168.1.5', '10.0.0.1', '2001:db8::1', '93.184.216.34'])
      expect(() => checkAddress(address, url, anything, wanted)).not.toThrow();
    expect(() =>
      checkAddress('127.0.0.1', url, { allowed: ['http://mirror.example/'] }, wanted),
    ).not.toThrow();
  });

  it('looks at the address a name leads to, too', async () => {
    const files = await server();
    files.files.set('/x', Buffer.from('secret'));
    const url = files.origin.replace('127.0.0.1', 'localhost');
    const options = { policy: anything, wanted, maxBytes: 100 };
    await expect(getText(`${url}/x`, options)).rejects.toMatchObject({ code: 'download.refused' });
    await expect(getText(`${files.origin}/x`, options)).rejects.toMatchObject({ code: 'download.refused' });
    expect(files.hits).toEqual([]);
    expect(await getText(`${url}/x`, { ...options, policy: { allowed: [`${url}/`] } })).toBe('secret');
  });

  it('never goes from https down to http', () => {
    const from = new URL('https://a.example/x');
    expect(redirected(from, '/y', anything, wanted).href).toBe('https://a.example/y');
    expect(() => redirected(from, 'http://a.example/y', anything, wanted)).toThrow(
      expect.objectContaining({ code: 'download.refused' }),
    );
  });
});

describe('a proxy', () => {
  it('of the environment gets the request, and resolves the name', async () => {
    const proxy = await server();
    proxy.files.set('http://mirror.invalid/x', Buffer.from('through the proxy'));
    vi.stubEnv('http_proxy', proxy.origin);
    vi.stubEnv('no_proxy', '');
    onTestFinished(() => void vi.unstubAllEnvs());
    const options = { policy: { allowed: ['http://'] }, wanted, maxBytes: 100 };
    expect(await getText('http://mirror.invalid/x', options)).toBe('through the proxy');
  });
});

describe('unpacking', () => {
  const data = Buffer.concat([
    Buffer.alloc(1024 * 1024),
    randomBytes(100_000),
    Buffer.alloc(2 * 1024 * 1024),
  ]);

  it('knows what is compressed by its first bytes', () => {
    expect(compressionOf(gzipSync(data))).toBe('gzip');
    expect(compressionOf(zstdCompressSync(data))).toBe('zstd');
    expect(compressionOf(data)).toBeUndefined();
  });

  it.each(['gzip', 'zstd'] as const)('of %s leaves holes where zeros were', async (compression) => {
    const place = directory();
    const from = join(place, 'in');
    const to = join(place, 'out');
    writeFileSync(from, compression === 'gzip' ? gzipSync(data) : zstdCompressSync(data));
    await decompress({ from, to, compression, maxBytes: data.length, wanted });
    expect(readFileSync(to).equals(data)).toBe(true);
    expect(statSync(to).blocks * 512).toBeLessThan(400_000);
  });

  it.each(['gzip', 'zstd'] as const)('of broken %s, or of too much, leaves nothing', async (compression) => {
    const place = directory();
    const from = join(place, 'in');
    const to = join(place, 'out');
    const whole = compression === 'gzip' ? gzipSync(data) : zstdCompressSync(data);
    const request = { from, to, compression, maxBytes: data.length - 1, wanted };
    writeFileSync(from, whole);
    await expect(decompress(request)).rejects.toMatchObject({ code: 'request.too-large' });
    writeFileSync(from, Buffer.concat([whole.subarray(0, 5000), Buffer.alloc(3000, 0xee)]));
    await expect(decompress(request)).rejects.toMatchObject({ code: 'request.invalid' });
    writeFileSync(from, whole.subarray(0, whole.length >> 1));
    await expect(decompress(request)).rejects.toMatchObject({ code: 'request.invalid' });
    expect(readdirSync(place)).toEqual(['in']);
  });
});

describe('a foreign image', () => {
  const inspect = (bytes: Buffer, said?: 'raw' | 'qcow2') => {
    const path = join(directory(), 'image');
    writeFileSync(path, bytes);
    return inspectForeign(path, said, wanted);
  };

  it('is told by its signature, unless somebody says what it is', async () => {
    const plain = qcow2({});
    expect(await inspect(plain)).toMatchObject({ format: 'qcow2' });
    expect(await inspect(plain, 'raw')).toMatchObject({ format: 'raw', capacityBytes: plain.length });
    expect(await inspect(Buffer.alloc(1024))).toMatchObject({ format: 'raw', capacityBytes: 1024 });
    const iso = Buffer.alloc(64 * 1024);
    iso.write('CD001', 16 * 2048 + 1);
    expect(await inspect(iso)).toMatchObject({ format: 'iso' });
  });

  it('that names other files is refused', async () => {
    await expect(inspect(qcow2({ backing: '/etc/shadow' }))).rejects.toMatchObject({ code: 'image.unsafe' });
    await expect(inspect(qcow2({ backing: 'json:{"driver":"nbd"}' }))).rejects.toMatchObject({
      code: 'image.unsafe',
    });
    const descriptor = '# Disk DescriptorFile\ncreateType="monolithicFlat"\nRW 1 FLAT "/etc/shadow" 0\n';
    await expect(inspect(Buffer.from(descriptor))).rejects.toMatchObject({ code: 'image.unsafe' });
    await expect(inspect(Buffer.alloc(0))).rejects.toMatchObject({ code: 'request.invalid' });
  });
});

describe('a checksum', () => {
  it('is read with or without its name', () => {
    const hex = 'AB'.repeat(32);
    expect(parseChecksum(`sha256:${hex}`)).toEqual({ algorithm: 'sha256', hex: hex.toLowerCase() });
    expect(parseChecksum('cd'.repeat(64))).toMatchObject({ algorithm: 'sha512' });
    for (const bad of ['md5:d41d8cd98f00b204e9800998ecf8427e', `sha512:${hex}`, 'sha256:xyz', ''])
      expect(() => parseChecksum(bad)).toThrow(expect.objectContaining({ code: 'request.invalid' }));
  });
});
