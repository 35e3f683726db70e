/** Events as they come, and what the host and the daemon are. */
import { describe, expect, it } from 'vitest';
import { cliRig } from './cli-rig.ts';
import { summary } from './fake-daemon.ts';

const { daemon, vireo } = await cliRig();

describe('events', () => {
  const event = (name: string, sequence: number) => ({
    subscription: 's1',
    event: 'domain.started',
    sequence,
    time: '2026-11-21T10:00:00.000Z',
    domain: { uuid: summary(name).uuid, name, id: 1 },
    reason: 'booted',
  });
  const notify = (socket: { write: (text: string) => unknown }, params: unknown) =>
    socket.write(`${JSON.stringify({ jsonrpc: '2.0', method: 'event', params })}\n`);

  it('are shown one a line, as text or JSON, until there were enough', async () => {
    daemon.answers = {
      'event.subscribe': (_params: never, socket) => ({
        subscription: 's1',
        after: () => {
          notify(socket, event('web', 1));
          notify(socket, event('d\u001bb', 2));
        },
      }),
      'event.unsubscribe': () => ({}),
    };
    const text = await vireo('events', '--count', '2', '--domain', 'web', '--event', 'domain.*');
    expect(daemon.paramsOf('event.subscribe')).toEqual({ events: ['domain.*'], domains: ['web'] });
    expect(text.code).toBe(0);
    const lines = text.stdout.split('\n');
    expect(lines[0]).toMatch(/^\d\d:\d\d:\d\d domain\.started +'web' reason=booted$/);
    expect(lines[1]).toContain("'d\\x1bb'");
    const json = await vireo('events', '--count', '2', '--json');
    expect(
      json.stdout
        .trimEnd()
        .split('\n')
        .map((line) => (JSON.parse(line) as { sequence: number }).sequence),
    ).toEqual([1, 2]);
  });

  it('end after a time, without an error', async () => {
    daemon.answers = { 'event.subscribe': () => ({ subscription: 's1' }), 'event.unsubscribe': () => ({}) };
    expect(await vireo('events', '--timeout', '50ms')).toEqual({ code: 0, stdout: '', stderr: '' });
  });

  it('that end because the daemon went away are an error', async () => {
    daemon.answers = {
      'event.subscribe': (_params: never, socket) => ({
        subscription: 's1',
        after: () => setTimeout(() => socket.destroy(), 20),
      }),
    };
    expect((await vireo('events')).code).toBe(4);
  });
});

describe('host and daemon', () => {
  it('check shows what is wrong with its repair, and exits with 1 for a problem', async () => {
    const checks = [
      { id: 'qemu', title: 'QEMU', status: 'ok', detail: '7.2.0', repair: null },
      {
        id: 'kvm',
        title: '/dev/kvm',
        status: 'warning',
        detail: 'missing',
        repair: 'switch on VT-x in the firmware',
      },
    ];
    daemon.answers = { 'host.check': () => ({ checks }) };
    const run = await vireo('host', 'check');
    expect(run.code).toBe(0);
    expect(run.stdout).toBe(
      'ok       QEMU: 7.2.0\nwarning  /dev/kvm: missing\n         repair: switch on VT-x in the firmware\n\n1 ok, 1 warning, 0 problems\n',
    );
    daemon.answers = { 'host.check': () => ({ checks: [{ ...checks[0], status: 'problem' }] }) };
    expect((await vireo('host', 'check', '--json')).code).toBe(1);
  });

  it('ping tells how fast the daemon answers', async () => {
    daemon.answers = { 'daemon.ping': () => ({}) };
    const run = await vireo('daemon', 'ping', '--count', '3', '--json');
    expect(JSON.parse(run.stdout)).toMatchObject({ count: 3 });
    expect(daemon.calls).toHaveLength(3);
  });
});
