/** QEMU's run states and events in our words. Pure: what a guest's state becomes, and which event it means. */
import type { DomainState } from '../../model/domain/state.ts';
import type { GuestEvent } from '../driver.ts';
import type { QmpEvent } from './qmp/events.ts';

/** What of a QMP event matters here. */
export type MonitorEvent = Pick<QmpEvent, 'name' | 'data' | 'seconds'>;

type PausedReason = Extract<DomainState, { state: 'paused' }>['reason'];

const paused = (reason: PausedReason): DomainState => ({ state: 'paused', reason });

/**
 * Run states of QAPI's RunState (qapi/run-state.json), with libvirt's state and reason for each. `prelaunch` is what a
 * guest started with -S is in.
 */
const statesByRunState: Readonly<Record<string, DomainState>> = {
  colo: paused('migrating'),
  debug: paused('unknown'),
  'finish-migrate': paused('migrating'),
  'guest-panicked': { state: 'crashed', reason: 'panicked' },
  inmigrate: paused('migrating'),
  'internal-error': paused('unknown'),
  'io-error': paused('I/O error'),
  paused: paused('user'),
  postmigrate: paused('migrating'),
  prelaunch: paused('starting up'),
  'restore-vm': paused('unknown'),
  running: { state: 'running', reason: 'unknown' },
  'save-vm': paused('saving'),
  shutdown: { state: 'shutdown', reason: 'unknown' },
  suspended: { state: 'pmsuspended', reason: 'unknown' },
  watchdog: paused('watchdog'),
};

/** The state behind a run state of QEMU; one that a newer QEMU brings is paused or not, as `running` says. */
export function stateOfRunState(runState: string, running: boolean): DomainState {
  const state = Object.hasOwn(statesByRunState, runState) ? statesByRunState[runState] : undefined;
  return state ?? (running ? { state: 'running', reason: 'unknown' } : paused('unknown'));
}

/** What is known of a guest between two events. */
export interface RunMemory {
  readonly state: DomainState;
  /** Why the next STOP will come, where an event or a request of ours has announced it. */
  readonly stopReason: PausedReason | undefined;
  readonly isPoweredOff: boolean;
  /** It is let run and stopped at once, of which nobody is to hear. */
  readonly isSettling?: boolean;
}

/** What an event does: the new memory, and what listeners are told, in order. */
interface EventOutcome {
  readonly memory: RunMemory;
  readonly events: readonly GuestEvent[];
}

type Handler = (event: MonitorEvent, memory: RunMemory) => EventOutcome;

/** Says only something; the memory stays. */
const tell = (memory: RunMemory, event: GuestEvent): EventOutcome => ({ memory, events: [event] });

/** Moves to a state, and says so unless it is the state already. */
function move(
  event: MonitorEvent,
  memory: RunMemory,
  state: DomainState,
  first: GuestEvent[] = [],
): EventOutcome {
  const isSame = memory.state.state === state.state && memory.state.reason === state.reason;
  const told: GuestEvent[] = isSame ? [] : [{ kind: 'state', seconds: event.seconds, state }];
  return { memory: { ...memory, state, stopReason: undefined }, events: [...first, ...told] };
}

/** Reasons of SHUTDOWN after which QEMU quits by itself, in spite of -no-shutdown (qapi ShutdownCause). */
const quitReasons: ReadonlySet<unknown> = new Set(['host-signal', 'host-qmp-quit']);

/** Reasons of SHUTDOWN where QEMU runs with `-action reboot=shutdown` and was to be reset. */
const resetReasons: ReadonlySet<unknown> = new Set(['guest-reset', 'host-qmp-system-reset']);

function deviceKept(event: MonitorEvent, memory: RunMemory): EventOutcome {
  const alias = event.data['device'];
  // Without an id it is none of ours.
  if (typeof alias !== 'string') return { memory, events: [] };
  return tell(memory, { kind: 'device-kept', seconds: event.seconds, alias });
}

/**
 * A guest's word on a memory device that it was asked to let go of (qapi/acpi.json; ACPI 6.4, section 6.3.5, _OST): it
 * failed, or is not supported, in use, busy or not ejectable. 0x84 says that it still tries.
 */
function deviceStatus(event: MonitorEvent, memory: RunMemory): EventOutcome {
  const info = objectOf(event.data['info']);
  const { device: alias, source, status } = info;
  const isAnswer = source === 0x003 || source === 0x103;
  const isRefusal = status === 0x01 || (typeof status === 'number' && status >= 0x80 && status <= 0x83);
  if (typeof alias !== 'string' || info['slot-type'] !== 'DIMM' || !isAnswer || !isRefusal)
    return { memory, events: [] };
  return tell(memory, { kind: 'device-kept', seconds: event.seconds, alias });
}

/** Why a guest runs again, by why it stood still. */
function resumeReason({ state, reason }: DomainState): 'booted' | 'from snapshot' | 'unpaused' {
  if (state !== 'paused') return 'unpaused';
  if (reason === 'starting up') return 'booted';
  return reason === 'from snapshot' ? 'from snapshot' : 'unpaused';
}

const handlers: Readonly<Record<string, Handler>> = {
  STOP(event, memory) {
    // After a power-off or a panic QEMU stops the vCPUs too; that is not a pause.
    if (memory.isPoweredOff || memory.isSettling === true || memory.state.state === 'crashed')
      return { memory, events: [] };
    return move(event, memory, paused(memory.stopReason ?? 'unknown'));
  },
  RESUME: (event, memory) =>
    memory.isPoweredOff || memory.isSettling === true
      ? { memory, events: [] }
      : move(event, memory, {
          state: 'running',
          reason: resumeReason(memory.state),
        }),
  SUSPEND: (event, memory) =>
    move(event, memory, { state: 'pmsuspended', reason: 'unknown' }, [
      { kind: 'sleep', seconds: event.seconds, to: 'memory' },
    ]),
  // The guest powers off after it: nothing waits for it to wake up.
  SUSPEND_DISK: (event, memory) => tell(memory, { kind: 'sleep', seconds: event.seconds, to: 'disk' }),
  WAKEUP: (event, memory) =>
    move(event, memory, { state: 'running', reason: 'event wakeup' }, [
      { kind: 'wakeup', seconds: event.seconds },
    ]),
  RESET: (event, memory) =>
    tell(
      { ...memory, isPoweredOff: false },
      {
        kind: 'reset',
        seconds: event.seconds,
        byGuest: event.data['guest'] === true,
      },
    ),
  SHUTDOWN(event, memory) {
    if (quitReasons.has(event.data['reason'])) return { memory, events: [] };
    const off: GuestEvent = {
      kind: 'powered-off',
      seconds: event.seconds,
      byGuest: event.data['guest'] === true,
      ...(resetReasons.has(event.data['reason']) && { isReset: true }),
    };
    const next = move(event, memory, { state: 'shutdown', reason: 'unknown' });
    return { memory: { ...next.memory, isPoweredOff: true }, events: [...next.events, off] };
  },
  GUEST_PANICKED(event, memory) {
    const info = event.data['info'];
    const said: GuestEvent = {
      kind: 'panicked',
      seconds: event.seconds,
      ...(info === undefined ? {} : { info }),
    };
    if (event.data['action'] === 'run') return tell(memory, said);
    return move(event, memory, { state: 'crashed', reason: 'panicked' }, [said]);
  },
  // A kernel of its own for crashes takes over: the guest runs on (qapi/run-state.json, GUEST_CRASHLOADED).
  GUEST_CRASHLOADED: (event, memory) => tell(memory, { kind: 'crash-loaded', seconds: event.seconds }),
  WATCHDOG(event, memory) {
    const action = text(event.data['action']);
    const stopReason = action === 'pause' ? 'watchdog' : memory.stopReason;
    return tell({ ...memory, stopReason }, { kind: 'watchdog', seconds: event.seconds, action });
  },
  BLOCK_IO_ERROR(event, memory) {
    const action = text(event.data['action']);
    const device = text(event.data['device']) || text(event.data['node-name']);
    const reason = text(event.data['reason']);
    const stopReason = action === 'stop' ? 'I/O error' : memory.stopReason;
    return tell(
      { ...memory, stopReason },
      {
        kind: 'io-error',
        seconds: event.seconds,
        device,
        action,
        reason,
        isFull: event.data['nospace'] === true,
      },
    );
  },
  RTC_CHANGE: (event, memory) =>
    tell(memory, { kind: 'rtc-change', seconds: event.seconds, offsetSeconds: whole(event.data['offset']) }),
  BALLOON_CHANGE: (event, memory) =>
    tell(memory, { kind: 'balloon', seconds: event.seconds, actualBytes: whole(event.data['actual']) }),
  MIGRATION_PASS: (event, memory) =>
    tell(memory, { kind: 'migration-pass', seconds: event.seconds, pass: whole(event.data['pass']) }),
  DEVICE_DELETED(event, memory) {
    const alias = event.data['device'];
    // Without an id it is a part of a device (a virtio back end); the device's own event follows.
    if (typeof alias !== 'string') return { memory, events: [] };
    return tell(memory, { kind: 'device-deleted', seconds: event.seconds, alias });
  },
  // qapi/qdev.json and, before QEMU 6.2 and for memory still, qapi/machine.json.
  DEVICE_UNPLUG_GUEST_ERROR: deviceKept,
  MEM_UNPLUG_ERROR: deviceKept,
  ACPI_DEVICE_OST: deviceStatus,
  // qapi/net.json. The only stream back ends are those of passt (argv/netdev.ts); their names are `host` and the alias.
  NETDEV_STREAM_DISCONNECTED: (event, memory) =>
    tell(memory, {
      kind: 'helper-ended',
      seconds: event.seconds,
      helper: 'passt',
      alias: text(event.data['netdev-id']).replace(/^host/, ''),
    }),
  DEVICE_TRAY_MOVED: (event, memory) =>
    tell(memory, {
      kind: 'tray',
      seconds: event.seconds,
      device: text(event.data['id']) || text(event.data['device']),
      open: event.data['tray-open'] === true,
    }),
  // qapi/ui.json. SPICE tells no more than that a channel is there; libvirt's clients know these three steps.
  VNC_CONNECTED: (event, memory) => tell(memory, graphicsEvent(event, 'connect')),
  VNC_INITIALIZED: (event, memory) => tell(memory, graphicsEvent(event, 'initialize')),
  VNC_DISCONNECTED: (event, memory) => tell(memory, graphicsEvent(event, 'disconnect')),
  SPICE_CONNECTED: (event, memory) => tell(memory, graphicsEvent(event, 'connect')),
  SPICE_INITIALIZED: (event, memory) => tell(memory, graphicsEvent(event, 'initialize')),
  SPICE_DISCONNECTED: (event, memory) => tell(memory, graphicsEvent(event, 'disconnect')),
  BLOCK_WRITE_THRESHOLD: (event, memory) =>
    tell(memory, {
      kind: 'block-threshold',
      seconds: event.seconds,
      device: text(event.data['node-name']),
      thresholdBytes: whole(event.data['write-threshold']),
      excessBytes: whole(event.data['amount-exceeded']),
    }),
  MEMORY_FAILURE(event, memory) {
    const flags = objectOf(event.data['flags']);
    return tell(memory, {
      kind: 'memory-failure',
      seconds: event.seconds,
      recipient: event.data['recipient'] === 'hypervisor' ? 'hypervisor' : 'guest',
      action: text(event.data['action']),
      actionRequired: flags['action-required'] === true,
      recursive: flags['recursive'] === true,
    });
  },
  MEMORY_DEVICE_SIZE_CHANGE: (event, memory) =>
    tell(memory, {
      kind: 'memory-device-size',
      seconds: event.seconds,
      alias: text(event.data['id']),
      bytes: whole(event.data['size']),
    }),
  NIC_RX_FILTER_CHANGED: (event, memory) =>
    tell(memory, { kind: 'receive-filter', seconds: event.seconds, alias: text(event.data['name']) }),
};

/** Takes one event of the monitor into account. `agentAlias` is the alias of the guest agent's channel. */
export function applyEvent(event: MonitorEvent, memory: RunMemory, agentAlias?: string): EventOutcome {
  if (event.name === 'VSERPORT_CHANGE' && agentAlias !== undefined && event.data['id'] === agentAlias)
    return tell(memory, {
      kind: 'agent-channel',
      seconds: event.seconds,
      connected: event.data['open'] === true,
      alias: agentAlias,
    });
  const handler = Object.hasOwn(handlers, event.name) ? handlers[event.name] : undefined;
  if (handler !== undefined) return handler(event, memory);
  return tell(memory, { kind: 'other', seconds: event.seconds, name: event.name, data: event.data });
}

type Graphics = Extract<GuestEvent, { kind: 'graphics' }>;

function graphicsEvent(event: MonitorEvent, phase: Graphics['phase']): Graphics {
  const client = objectOf(event.data['client']);
  const server = objectOf(event.data['server']);
  const identities = [
    { type: 'x509dname', name: text(client['x509_dname']) },
    { type: 'saslUsername', name: text(client['sasl_username']) },
  ];
  return {
    kind: 'graphics',
    seconds: event.seconds,
    phase,
    local: endpoint(server),
    remote: endpoint(client),
    authScheme: text(server['auth']),
    identities: identities.filter(({ name }) => name !== ''),
  };
}

/** VNC says `service`, SPICE `port`. */
function endpoint(value: Readonly<Record<string, unknown>>): Graphics['local'] {
  const family = value['family'];
  return {
    family: family === 'ipv6' || family === 'unix' ? family : 'ipv4',
    node: text(value['host']),
    service: text(value['service']) || text(value['port']),
  };
}

function objectOf(value: unknown): Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null ? (value as Readonly<Record<string, unknown>>) : {};
}

/** A string of QEMU's, or '' when it is none (its events are not trusted). */
function text(value: unknown): string {
  return typeof value === 'string' ? value.slice(0, 1024) : '';
}

function whole(value: unknown): number {
  return typeof value === 'number' && Number.isSafeInteger(value) ? value : 0;
}
