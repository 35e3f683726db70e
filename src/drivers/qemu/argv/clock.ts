/** Time and power: -rtc, timers that are global properties, power management, what a reboot does. */
import type { Clock, Timer } from '../../../model/domain/clock.ts';
import type { Build } from './context.ts';

/** -rtc. */
export function buildRtc(b: Build): void {
  const clock = b.definition.clock;
  const timer = clock?.timers.find((candidate) => candidate.name === 'rtc');
  b.pairs('-rtc', [
    ['base', clock === undefined ? 'utc' : rtcBase(b, clock)],
    ['clock', rtcClock(timer)],
    ['driftfix', driftfix(b, timer)],
  ]);
}

function rtcBase(b: Build, clock: Clock): string {
  const offsetSeconds = typeof clock.adjustment === 'number' ? clock.adjustment : 0;
  switch (clock.offset) {
    case 'utc':
      return offsetSeconds === 0 ? 'utc' : dateOf(nowSeconds(b) + offsetSeconds);
    case 'localtime':
      return 'localtime';
    case 'timezone':
      // QEMU asks localtime(3), which goes by TZ.
      b.environment.TZ = clock.timezone ?? '';
      if (clock.timezone === undefined) b.problem('clock.timezone', 'is missing');
      return 'localtime';
    case 'variable':
      return clock.basis === 'localtime'
        ? dateOf(nowSeconds(b) + offsetSeconds + localOffsetSeconds(b))
        : dateOf(nowSeconds(b) + offsetSeconds);
    case 'absolute':
      if (clock.start === undefined) b.problem('clock.start', 'is missing');
      return dateOf(clock.start ?? 0);
  }
}

function nowSeconds(b: Build): number {
  if (b.context.nowMs === undefined)
    b.problem('clock.adjustment', 'cannot be honoured without the time of day');
  return Math.floor((b.context.nowMs ?? 0) / 1000);
}

function localOffsetSeconds(b: Build): number {
  if (b.context.utcOffsetSeconds === undefined)
    b.problem('clock.basis', `'localtime' cannot be honoured without the host's time zone`);
  return b.context.utcOffsetSeconds ?? 0;
}

/** QEMU takes 2006-06-17T16:01:21. */
function dateOf(epochSeconds: number): string {
  return new Date(epochSeconds * 1000).toISOString().replace(/\.\d+Z$/, '');
}

const clocks = { boot: undefined, guest: 'vm', wall: 'host', realtime: 'rt' } as const;

function rtcClock(timer: Timer | undefined): string | undefined {
  return timer?.track === undefined ? undefined : clocks[timer.track];
}

/** QEMU's RTC knows two policies: inject the lost ticks faster, or let them go. */
function driftfix(b: Build, timer: Timer | undefined): string | undefined {
  switch (timer?.tickpolicy) {
    case undefined:
    case 'delay':
      return undefined;
    case 'catchup':
      return 'slew';
    default:
      b.problem('clock.timer', `tickpolicy '${timer?.tickpolicy}' is not offered for the rtc`);
      return undefined;
  }
}

/** Checks all timers, and adds the global property of KVM's PIT. Presence of hpet and pit is on -machine. */
export function buildTimers(b: Build): void {
  for (const [index, timer] of (b.definition.clock?.timers ?? []).entries())
    checkTimer(b, timer, `clock.timer[${index}]`);
}

function checkTimer(b: Build, timer: Timer, path: string): void {
  b.refuse(path, { catchup: timer.catchup });
  if (timer.name !== 'rtc') b.refuse(path, { track: timer.track });
  if (timer.name !== 'tsc') b.refuse(path, { frequency: timer.frequency }, 'is only known for the tsc');
  if (timer.mode !== undefined && timer.mode !== 'auto')
    b.problem(`${path}.mode`, `'${timer.mode}' is of another hypervisor`);
  switch (timer.name) {
    case 'pit':
      buildPit(b, timer, path);
      break;
    case 'platform':
      b.problem(path, 'is of another hypervisor');
      break;
    case 'rtc':
      if (timer.present === false) b.problem(`${path}.present`, 'the rtc cannot be taken away');
      break;
    case 'armvtimer':
      if (timer.tickpolicy !== undefined && timer.tickpolicy !== 'delay' && timer.tickpolicy !== 'discard')
        b.problem(`${path}.tickpolicy`, `'${timer.tickpolicy}' is not offered`);
      break;
    case 'hpet':
    case 'tsc':
    case 'kvmclock':
    case 'hypervclock':
      b.refuse(path, { tickpolicy: timer.tickpolicy });
      break;
  }
}

/** KVM's PIT re-injects lost ticks by its property; TCG's PIT delivers each tick late, which is what delay means. */
function buildPit(b: Build, timer: Timer, path: string): void {
  if (timer.tickpolicy === undefined || timer.present === false) return;
  if (timer.tickpolicy !== 'delay' && timer.tickpolicy !== 'discard')
    b.problem(`${path}.tickpolicy`, `'${timer.tickpolicy}' is not offered for the pit`);
  if (b.isKvm) b.pairs('-global', [['', `kvm-pit.lost_tick_policy=${timer.tickpolicy}`]]);
  else if (timer.tickpolicy === 'discard')
    b.problem(`${path}.tickpolicy`, `'discard' needs a domain of type kvm`);
}

/** Suspend to RAM and disk, which the south bridge offers the guest or not. */
export function buildPowerManagement(b: Build): void {
  const { pm } = b.definition;
  const bridge = b.isQ35 ? 'ICH9-LPC' : b.isI440fx ? 'PIIX4_PM' : undefined;
  for (const [name, property, enabled] of [
    ['suspend-to-mem', 'disable_s3', pm?.suspendToMem],
    ['suspend-to-disk', 'disable_s4', pm?.suspendToDisk],
  ] as const) {
    if (enabled === undefined) continue;
    if (bridge === undefined) b.problem(`pm.${name}`, `is not known on machine type '${b.machine}'`);
    else b.pairs('-global', [['', `${bridge}.${property}=${enabled ? 0 : 1}`]]);
  }
}

/**
 * The guest's own power-off leaves QEMU waiting, so that the daemon learns of it (architecture.md, 7). A reboot
 * that is to end the guest does so by itself; the other actions are the daemon's.
 */
export function buildActions(b: Build): void {
  b.word('-no-shutdown');
  const { onReboot, onPoweroff, onCrash, onLockfailure } = b.definition;
  if (onReboot === 'destroy') b.pairs('-action', [['reboot', 'shutdown']]);
  if (onReboot === 'preserve' || onReboot === 'rename-restart')
    b.problem('on_reboot', `'${onReboot}' is not supported`);
  if (onCrash?.startsWith('coredump-') || onCrash === 'rename-restart')
    b.problem('on_crash', `'${onCrash}' is not supported`);
  if (onPoweroff === 'rename-restart') b.problem('on_poweroff', `'rename-restart' is not supported`);
  b.refuse('', { on_lockfailure: onLockfailure }, 'no lock manager is there that could fail');
}
