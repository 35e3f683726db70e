import { mkdtemp, rm } from 'node:fs/promises';
import { createServer, type Server, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { Agent, agentShutdown, readInterfaces } from '../../../src/drivers/qemu/agent.ts';

let directory: string;
let path: string;
let server: Server | undefined;
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'vireo-agent-'));
  path = join(directory, 'agent');
});
afterEach(async () => {
  server?.close();
  server = undefined;
  await rm(directory, { recursive: true });
});

/** A guest agent of our own: `answer` gets each request and the socket. */
async function agent(answer: (request: Record<string, never>, socket: Socket) => void): Promise<unknown[]> {
  const requests: unknown[] = [];
  server = createServer((socket) => {
    socket.on('data', (chunk) => {
      for (const line of chunk.toString('latin1').replaceAll('\xff', '').trim().split('\n')) {
        const request = JSON.parse(line) as Record<string, never>;
        requests.push(request);
        answer(request, socket);
      }
    });
    socket.on('error', () => undefined);
  });
  await new Promise<void>((resolve) => {
    server?.listen(path, resolve);
  });
  return requests;
}

interface Sync {
  execute: string;
  arguments: { id: number };
}

describe('the guest agent', () => {
  it('is synchronised, past what an earlier conversation left, and asked once', async () => {
    const requests = await agent((request, socket) => {
      const { execute, arguments: args } = request as unknown as Sync;
      if (execute !== 'guest-sync-delimited') return;
      socket.write('{"return": {"stale": true}}\n{"retu');
      socket.write(Buffer.concat([Buffer.from([0xff]), Buffer.from(`{"return": ${args.id}}\n`)]));
    });
    await agentShutdown(path, 'powerdown');
    expect(requests.at(-1)).toEqual({ execute: 'guest-shutdown', arguments: { mode: 'powerdown' } });
    expect(requests).toHaveLength(2);
  });

  it('has done what it was asked when the channel closes after the request: the guest is gone', async () => {
    await agent((request, socket) => {
      const { execute, arguments: args } = request as unknown as Sync;
      if (execute === 'guest-sync-delimited') socket.write(`{"return":${args.id}}\n`);
      else socket.destroy();
    });
    await expect(agentShutdown(path, 'powerdown')).resolves.toBeUndefined();
  });

  it('has its refusal told', async () => {
    await agent((request, socket) => {
      const { execute, arguments: args } = request as unknown as Sync;
      if (execute === 'guest-sync-delimited') socket.write(`{"return":${args.id}}\n`);
      else socket.write('{"error":{"class":"GenericError","desc":"not\\nallowed"}}\n');
    });
    await expect(agentShutdown(path, 'halt')).rejects.toThrow(
      expect.objectContaining({
        code: 'operation.failed',
        reason: expect.stringContaining('not\\x0aallowed'),
      }),
    );
  });

  it('is unresponsive when nobody listens, when it hangs up, and when it never stops talking', async () => {
    const unresponsive = expect.objectContaining({ code: 'agent.unresponsive' });
    await expect(agentShutdown(path, 'reboot')).rejects.toThrow(unresponsive);
    await agent((_, socket) => socket.destroy());
    await expect(agentShutdown(path, 'reboot')).rejects.toThrow(unresponsive);
    server?.close();
    await agent((_, socket) => void socket.write('x'.repeat(1_100_000)));
    await expect(agentShutdown(path, 'reboot')).rejects.toThrow(unresponsive);
  });

  it('is cut off when whole lines never end, too', async () => {
    await agent((_, socket) => void socket.write('{"return":0}\n'.repeat(400_000)));
    await expect(new Agent(path).ping()).rejects.toMatchObject({
      code: 'agent.unresponsive',
      reason: 'it sent more than is accepted',
    });
  });

  it('is asked once by all who ask at the same time, and anew by the next', async () => {
    const requests = await agent((request, socket) => {
      const { execute, arguments: args } = request as unknown as Sync;
      socket.write(`{"return":${execute === 'guest-sync-delimited' ? args.id : '[{"name":"eth0"}]'}}\n`);
    });
    const one = new Agent(path);
    const all = await Promise.all(Array.from({ length: 50 }, () => one.interfaces()));
    expect(all.every(([first]) => first?.name === 'eth0')).toBe(true);
    expect(requests).toHaveLength(2);
    await one.interfaces();
    expect(requests).toHaveLength(4);
  });

  it('is waited for once when it says nothing, however many ask; who asks later asks anew', async () => {
    let isMute = true;
    const requests = await agent((request, socket) => {
      const { execute, arguments: args } = request as unknown as Sync;
      if (!isMute) socket.write(`{"return":${execute === 'guest-sync-delimited' ? args.id : 7}}\n`);
    });
    const asked = new Agent(path);
    const commands = ['guest-exec', 'guest-get-users', 'guest-fsfreeze-freeze'];
    const started = performance.now();
    const answers = await Promise.allSettled(commands.map((command) => asked.ask(command, undefined)));
    expect(performance.now() - started).toBeLessThan(9000);
    expect(answers.map((one) => (one as PromiseRejectedResult).reason as unknown)).toMatchObject(
      commands.map((command) => ({
        code: 'agent.unresponsive',
        wanted: `ask the guest agent (${command})`,
        reason: 'it did not answer within 5000 ms',
        details: { isAsked: false },
      })),
    );
    expect(requests).toHaveLength(1);
    isMute = false;
    expect(await asked.ask('guest-get-users', undefined)).toBe(7);
  }, 20_000);

  it('has one conversation at a time, and the next one goes on after a failure', async () => {
    let open = 0;
    let most = 0;
    await agent((request, socket) => {
      const { execute, arguments: args } = request as unknown as Sync;
      open += 1;
      most = Math.max(most, open);
      socket.on('close', () => {
        open -= 1;
      });
      setTimeout(() => {
        if (execute === 'guest-sync-delimited') socket.write(`{"return":${args.id}}\n`);
        else socket.write('{"error":{"desc":"no"}}\n');
      }, 20);
    });
    const one = new Agent(path);
    const results = await Promise.allSettled([one.ping(), one.interfaces(), one.shutdown('halt')]);
    expect(results.map(({ status }) => status)).toEqual(['fulfilled', 'rejected', 'rejected']);
    await one.ping();
    expect(most).toBeLessThanOrEqual(2); // the sync and the request of one conversation
  });
});

describe("the agent's interfaces", () => {
  it('are read, with addresses in canonical form', () => {
    const eth0 = {
      name: 'eth0',
      'hardware-address': '52:54:00:AA:BB:CC',
      'ip-addresses': [
        { 'ip-address-type': 'ipv4', 'ip-address': '10.0.0.5', prefix: 24 },
        { 'ip-address-type': 'ipv6', 'ip-address': 'FE80::1%3', prefix: 64 },
      ],
      statistics: {},
    };
    expect(readInterfaces([eth0, { name: 'tun0' }])).toEqual([
      {
        name: 'eth0',
        mac: '52:54:00:aa:bb:cc',
        addresses: [
          { family: 4, address: '10.0.0.5', prefix: 24 },
          { family: 6, address: 'fe80::1', prefix: 64 },
        ],
      },
      { name: 'tun0', addresses: [] },
    ]);
  });

  it.each([[null], [{}], ['text'], [[null, 1, [], { name: 3 }]]])(
    'of a guest that answers %j are none',
    (answer) => {
      expect(readInterfaces(answer)).toEqual([]);
    },
  );

  it('keep what is well-formed and drop what is not, and have limits', () => {
    const hostile = {
      name: 'e\u001b[31m\nth',
      'hardware-address': 'x',
      'ip-addresses': [
        { 'ip-address': '1.2.3.4', prefix: 64 },
        { 'ip-address': '1.2.3.4; reboot', prefix: 8 },
        { 'ip-address': '1.2.3.4', prefix: -1 },
        'no',
        { 'ip-address': '1.2.3.4', prefix: 32 },
      ],
    };
    expect(readInterfaces([hostile])).toEqual([
      { name: 'e\\x1b[31m\\x0ath', addresses: [{ family: 4, address: '1.2.3.4', prefix: 32 }] },
    ]);
    const many = Array.from({ length: 1000 }, () => ({
      name: 'x',
      'ip-addresses': Array.from({ length: 1000 }, () => ({ 'ip-address': '1.2.3.4', prefix: 32 })),
    }));
    expect(readInterfaces(many)).toHaveLength(256);
    expect(readInterfaces(many)[0]?.addresses).toHaveLength(64);
  });
});
