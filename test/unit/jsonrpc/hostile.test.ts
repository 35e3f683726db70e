/** Input made to hurt: every prefix, huge lines, deep nesting, wrong encodings, poisonous keys. */
import { describe, expect, it } from 'vitest';
import { errorOf, fakeHandlers, ping, startServer, until } from './support.ts';

const KiB = 1024;

describe('hostile input', () => {
  it('survives every prefix of a message followed by the end', async () => {
    const rig = await startServer();
    const message = Buffer.from(`${JSON.stringify(ping('ünï'))}\n`);
    for (let length = 0; length < message.length - 1; length += 1) {
      const raw = await rig.raw();
      raw.socket.end(message.subarray(0, length));
      const answer = await raw.next();
      // The message without its newline is whole; every shorter piece is no JSON.
      if (length > 0) expect(errorOf(answer).code).toBe(-32_700);
      await raw.closed;
    }
    expect(await (await rig.raw()).ask(ping(1))).toMatchObject({ id: 1 });
    await until(() => rig.server.clientCount === 1);
  });

  it('survives clients that break off in the middle', async () => {
    const rig = await startServer();
    for (let length = 0; length < 40; length += 3) {
      const raw = await rig.raw();
      raw.send(JSON.stringify(ping(1)).slice(0, length));
      raw.socket.destroy();
    }
    await until(() => rig.server.clientCount === 0);
  });

  it('reads a message that comes byte by byte', async () => {
    const raw = await (await startServer()).raw();
    raw.socket.setNoDelay(true);
    for (const byte of Buffer.from(`${JSON.stringify(ping('ü'))}\n`)) {
      raw.send(Buffer.from([byte]));
      await new Promise((resolve) => {
        setImmediate(resolve);
      });
    }
    expect(await raw.next()).toMatchObject({ id: 'ü' });
  });

  it('cuts a first message over 64 KiB with one error', async () => {
    const rig = await startServer();
    const raw = await rig.raw();
    raw.send('x'.repeat(64 * KiB + 1));
    expect(errorOf(await raw.next())).toMatchObject({ code: -32_600, data: { code: 'request.too-large' } });
    await raw.closed;
  });

  it('keeps the small limit until a message was valid', async () => {
    const raw = await (await startServer()).raw();
    raw.send('nonsense\n[1]\n');
    await raw.next();
    await raw.next();
    raw.send('x'.repeat(65 * KiB));
    expect(errorOf(await raw.next()).data['code']).toBe('request.too-large');
    await raw.closed;
  });

  it('takes large messages afterwards, up to 32 MiB', async () => {
    const handlers = fakeHandlers({
      'domain.define': ({ xml }) => Promise.resolve({ domain: xml.length, dropped: [] } as never),
    });
    const raw = await (await startServer({ handlers })).raw();
    await raw.ask(ping(1));
    const xml = 'é'.repeat(4 * KiB * KiB);
    const answer = await raw.ask({ jsonrpc: '2.0', id: 2, method: 'domain.define', params: { xml } });
    expect(answer).toMatchObject({ id: 2, result: { domain: xml.length } });
    raw.send(' '.repeat(32 * KiB * KiB + 1));
    expect(errorOf(await raw.next()).data['code']).toBe('request.too-large');
    await raw.closed;
  });

  it('refuses deep nesting before it parses, and says so', async () => {
    const raw = await (await startServer()).raw();
    await raw.ask(ping(1));
    for (const bomb of [
      '['.repeat(1_000_000),
      '{"a":'.repeat(200_000),
      `{"params":${'['.repeat(65)}${']'.repeat(65)}}`,
    ]) {
      raw.send(`${bomb}\n`);
      expect(errorOf(await raw.next())).toMatchObject({ code: -32_600, data: { code: 'request.too-large' } });
    }
    expect(await raw.ask(ping(2))).toMatchObject({ id: 2 });
  });

  it('does not count brackets inside strings', async () => {
    const raw = await (await startServer()).raw();
    const id = `${'['.repeat(100)}\\"${'{'.repeat(100)}`;
    expect(await raw.ask(ping(id))).toMatchObject({ id });
  });

  it.each([
    ['a lone continuation byte', [0x80]],
    ['an overlong slash', [0xc0, 0xaf]],
    ['a surrogate in UTF-8', [0xed, 0xa0, 0x80]],
    ['a code point past Unicode', [0xf5, 0x80, 0x80, 0x80]],
    ['a cut sequence', [0xe2, 0x82]],
  ])('refuses %s', async (_, bytes) => {
    const raw = await (await startServer()).raw();
    const text = JSON.stringify(ping('?'));
    const at = text.indexOf('?');
    raw.send(
      Buffer.concat([
        Buffer.from(text.slice(0, at)),
        Buffer.from(bytes),
        Buffer.from(`${text.slice(at + 1)}\n`),
      ]),
    );
    expect(await raw.next()).toMatchObject({ id: null, error: { code: -32_700 } });
    expect(await raw.ask(ping(1))).toMatchObject({ id: 1 });
  });

  it('refuses UTF-16, a byte order mark and NUL', async () => {
    const raw = await (await startServer()).raw();
    for (const text of [`\ufeff${JSON.stringify(ping(1))}`, `\0${JSON.stringify(ping(1))}`]) {
      raw.send(`${text}\n`);
      expect(errorOf(await raw.next()).code).toBe(-32_700);
    }
    raw.send(Buffer.concat([Buffer.from(JSON.stringify(ping(1)), 'utf16le'), Buffer.from('\n')]));
    expect(errorOf(await raw.next()).code).toBe(-32_700);
  });

  it('lets no key touch a prototype', async () => {
    const seen: unknown[] = [];
    const handlers = fakeHandlers({
      'domain.monitor-command': (params) => {
        seen.push(params.arguments);
        return Promise.resolve({ return: null });
      },
    });
    const raw = await (await startServer({ handlers })).raw();
    const poison = '{"__proto__":{"polluted":1},"constructor":{"prototype":{"polluted":1}}}';
    for (const params of [poison, `{"domain":"a","command":"stop","arguments":${poison}}`])
      raw.send(`{"jsonrpc":"2.0","id":1,"method":"domain.monitor-command","params":${params}}\n`);
    raw.send(`{"__proto__":{"jsonrpc":"2.0","method":"daemon.ping"},"id":7}\n`);
    const answers = [await raw.next(), await raw.next(), await raw.next()];
    expect(answers.filter((answer) => errorOf(answer)?.code === -32_602).length).toBeGreaterThanOrEqual(1);
    expect(answers).toContainEqual(
      expect.objectContaining({ id: 7, error: expect.objectContaining({ code: -32_600 }) }),
    );
    expect(({} as Record<string, unknown>)['polluted']).toBeUndefined();
    for (const value of seen) expect((value as Record<string, unknown>)['polluted']).toBeUndefined();
  });

  it('answers noise with typed errors or silence, never with a crash', async () => {
    const rig = await startServer();
    let seed = 1;
    const random = () => {
      seed = (seed * 48_271) % 2_147_483_647;
      return seed;
    };
    const raw = await rig.raw();
    const noise = Buffer.from(Array.from({ length: 20_000 }, () => random() % 256));
    raw.socket.end(Buffer.concat([noise, Buffer.from('\n')]));
    for (let answer = await raw.next(); answer !== undefined; answer = await raw.next())
      expect([-32_700, -32_600]).toContain(errorOf(answer).code);
    expect(await (await rig.raw()).ask(ping(1))).toMatchObject({ id: 1 });
  });
});
