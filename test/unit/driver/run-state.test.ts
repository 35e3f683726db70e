import { describe, expect, it } from 'vitest';
import {
  applyEvent,
  type MonitorEvent,
  type RunMemory,
  stateOfRunState,
} from '../../../src/drivers/qemu/run-state.ts';

const running: RunMemory = {
  state: { state: 'running', reason: 'booted' },
  stopReason: undefined,
  isPoweredOff: false,
};

function event(name: string, data: Record<string, unknown> = {}): MonitorEvent {
  return { name, data, seconds: 12.5 };
}

/** Applies events in order; gives the last memory and all that was told. */
function play(memory: RunMemory, ...events: MonitorEvent[]) {
  const told: unknown[] = [];
  let now = memory;
  for (const one of events) {
    const outcome = applyEvent(one, now, 'channel0');
    now = outcome.memory;
    told.push(...outcome.events);
  }
  return { memory: now, told };
}

describe('run states', () => {
  it('knows the state behind each run state of QEMU', () => {
    expect(stateOfRunState('io-error', false)).toEqual({ state: 'paused', reason: 'I/O error' });
    expect(stateOfRunState('shutdown', false)).toEqual({ state: 'shutdown', reason: 'unknown' });
    expect(stateOfRunState('guest-panicked', false)).toEqual({ state: 'crashed', reason: 'panicked' });
    expect(stateOfRunState('suspended', false)).toEqual({ state: 'pmsuspended', reason: 'unknown' });
  });

  it('takes a run state that it does not know for paused or running, and is not fooled by a name of Object', () => {
    expect(stateOfRunState('new-state', true).state).toBe('running');
    expect(stateOfRunState('new-state', false).state).toBe('paused');
    expect(stateOfRunState('constructor', false)).toEqual({ state: 'paused', reason: 'unknown' });
  });
});

describe('events', () => {
  it('tells a power-off once, and does not take the stop behind it for a pause', () => {
    const { memory, told } = play(
      running,
      event('SHUTDOWN', { guest: true, reason: 'guest-shutdown' }),
      event('STOP'),
    );
    expect(memory.state).toEqual({ state: 'shutdown', reason: 'unknown' });
    expect(told).toEqual([
      { kind: 'state', seconds: 12.5, state: { state: 'shutdown', reason: 'unknown' } },
      { kind: 'powered-off', seconds: 12.5, byGuest: true },
    ]);
  });

  it('says nothing of the shutdown that our own SIGTERM causes', () => {
    expect(play(running, event('SHUTDOWN', { guest: false, reason: 'host-signal' })).told).toEqual([]);
  });

  it('gives a stop after a disk error that error as its reason, and the next one none', () => {
    const broken = event('BLOCK_IO_ERROR', {
      device: '',
      'node-name': 'libvirt-1-format',
      action: 'stop',
      reason: 'EIO',
    });
    const first = play(running, broken, event('STOP'));
    expect(first.memory.state).toEqual({ state: 'paused', reason: 'I/O error' });
    expect(first.told[0]).toEqual({
      kind: 'io-error',
      seconds: 12.5,
      device: 'libvirt-1-format',
      action: 'stop',
      reason: 'EIO',
      isFull: false,
    });
    expect(play(first.memory, event('RESUME'), event('STOP')).memory.state).toEqual({
      state: 'paused',
      reason: 'unknown',
    });
  });

  it('keeps a guest running after an error that is only reported', () => {
    const reported = event('BLOCK_IO_ERROR', { device: 'd', action: 'report', reason: 'EIO' });
    expect(play(running, reported).memory).toEqual(running);
  });

  it('calls the first resume of a started guest booted and later ones unpaused', () => {
    const starting: RunMemory = { ...running, state: { state: 'paused', reason: 'starting up' } };
    const booted = play(starting, event('RESUME'));
    expect(booted.memory.state).toEqual({ state: 'running', reason: 'booted' });
    const again = play({ ...booted.memory, stopReason: 'user' }, event('STOP'), event('RESUME'));
    expect(again.memory.state).toEqual({ state: 'running', reason: 'unpaused' });
  });

  it('runs again after a reset that follows a power-off', () => {
    const off = play(running, event('SHUTDOWN', { guest: true, reason: 'guest-shutdown' })).memory;
    const { memory } = play(off, event('RESET', { guest: false }), event('RESUME'));
    expect(memory.state).toEqual({ state: 'running', reason: 'unpaused' });
  });

  it('marks a panicked guest as crashed, and one that only reports a panic not', () => {
    expect(
      play(running, event('GUEST_PANICKED', { action: 'pause' }), event('STOP')).memory.state.state,
    ).toBe('crashed');
    expect(play(running, event('GUEST_PANICKED', { action: 'run' })).memory.state.state).toBe('running');
  });

  it('tells of a panic that a kernel for crashes takes over, whose guest runs on', () => {
    const { memory, told } = play(running, event('GUEST_CRASHLOADED', { action: 'run' }));
    expect(memory.state).toEqual(running.state);
    expect(told).toEqual([{ kind: 'crash-loaded', seconds: 12.5 }]);
  });

  it('tells of a memory device that the guest does not let go of, and not while it still tries', () => {
    const word = (info: object) => play(running, event('ACPI_DEVICE_OST', { info })).told;
    const dimm = { device: 'dimm0', slot: '0', 'slot-type': 'DIMM' };
    // As QEMU 7.2 tells of a Linux that has unmovable pages there.
    expect(word({ ...dimm, source: 3, status: 0x84 })).toEqual([]);
    expect(word({ ...dimm, source: 3, status: 0x82 })).toEqual([
      { kind: 'device-kept', seconds: 12.5, alias: 'dimm0' },
    ]);
    expect(word({ ...dimm, source: 0x103, status: 0x01 })).toMatchObject([{ kind: 'device-kept' }]);
    expect(word({ ...dimm, source: 3, status: 0 })).toEqual([]);
    expect(word({ ...dimm, source: 1, status: 0x82 })).toEqual([]);
    expect(word({ ...dimm, 'slot-type': 'CPU', device: 'vcpu1', source: 3, status: 0x82 })).toEqual([]);
    expect(play(running, event('ACPI_DEVICE_OST', { info: 7 })).told).toEqual([]);
  });

  it("tells the agent's channel from other ports", () => {
    expect(play(running, event('VSERPORT_CHANGE', { id: 'channel0', open: true })).told).toEqual([
      { kind: 'agent-channel', seconds: 12.5, connected: true, alias: 'channel0' },
    ]);
    expect(play(running, event('VSERPORT_CHANGE', { id: 'channel1', open: true })).told).toMatchObject([
      { kind: 'other', name: 'VSERPORT_CHANGE' },
    ]);
  });

  it('survives members of the wrong type', () => {
    for (const name of [
      'RTC_CHANGE',
      'BALLOON_CHANGE',
      'DEVICE_DELETED',
      'WATCHDOG',
      'DEVICE_TRAY_MOVED',
      '__proto__',
    ])
      for (const data of [{}, { offset: 'x', actual: null, device: 7, id: [], action: {} }])
        expect(() => play(running, event(name, data))).not.toThrow();
    expect(play(running, event('RTC_CHANGE', { offset: '7' })).told).toMatchObject([{ offsetSeconds: 0 }]);
  });

  it('tells of sleep, of clients of displays, of thresholds and of broken memory', () => {
    const client = { family: 'ipv4', host: '127.0.0.1', service: '50000', sasl_username: 'ann' };
    const server = { family: 'ipv4', host: '127.0.0.1', service: '5900', auth: 'sasl' };
    const { memory, told } = play(
      running,
      event('SUSPEND'),
      event('WAKEUP'),
      event('VNC_INITIALIZED', { client, server }),
      event('BLOCK_WRITE_THRESHOLD', { 'node-name': 'n', 'write-threshold': 10, 'amount-exceeded': 2 }),
      event('MEMORY_FAILURE', { recipient: 'guest', action: 'inject', flags: { 'action-required': true } }),
    );
    expect(memory.state).toEqual({ state: 'running', reason: 'event wakeup' });
    expect(told).toMatchObject([
      { kind: 'sleep', to: 'memory' },
      { kind: 'state' },
      { kind: 'wakeup' },
      { kind: 'state' },
      {
        kind: 'graphics',
        phase: 'initialize',
        authScheme: 'sasl',
        remote: { node: '127.0.0.1', service: '50000' },
        identities: [{ type: 'saslUsername', name: 'ann' }],
      },
      { kind: 'block-threshold', device: 'n', thresholdBytes: 10, excessBytes: 2 },
      { kind: 'memory-failure', recipient: 'guest', actionRequired: true, recursive: false },
    ]);
  });
});
