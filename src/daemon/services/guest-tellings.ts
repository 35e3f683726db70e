/** What guests do and clients are only told of. */
import type { GuestEvent } from '../../drivers/driver.ts';
import type { Domain, LiveDomain } from './domain.ts';
import { diskPath } from './domain-statistics.ts';
import type { EventBus } from './events.ts';

/** Tells clients of an event that changes nothing of ours; of all others it tells nothing. */
export function passOn(events: EventBus, domain: Domain, live: LiveDomain, event: GuestEvent): void {
  const { identity } = domain;
  switch (event.kind) {
    case 'crash-loaded':
      events.emit('domain.crashed', identity, { reason: 'crash-loaded', detail: '' });
      break;
    case 'watchdog':
      events.emit('domain.watchdog', identity, { action: event.action });
      break;
    case 'io-error':
      events.emit('domain.io-error', identity, ioError(event));
      break;
    case 'migration-pass':
      events.emit('domain.migration-pass', identity, { pass: event.pass });
      break;
    case 'device-kept':
      events.emit('domain.device-removal-failed', identity, { alias: event.alias });
      break;
    case 'agent-channel':
      events.emit('domain.agent', identity, { alias: event.alias, connected: event.connected });
      break;
    case 'tray':
      events.emit('domain.tray-changed', identity, { alias: event.device, open: event.open });
      break;
    case 'graphics':
      events.emit('domain.graphics', identity, graphics(event));
      break;
    case 'sleep':
      events.emit('domain.sleeping', identity, { to: event.to });
      break;
    case 'wakeup':
      events.emit('domain.woke-up', identity, {});
      break;
    case 'block-threshold':
      events.emit('domain.block-threshold', identity, blockThreshold(live, event));
      break;
    case 'memory-failure': {
      const { recipient, action, actionRequired, recursive } = event;
      events.emit('domain.memory-failure', identity, { recipient, action, actionRequired, recursive });
      break;
    }
    case 'memory-device-size':
      events.emit('domain.memory-device-size', identity, { alias: event.alias, bytes: event.bytes });
      break;
    default:
      break;
  }
}

type Told<Kind extends GuestEvent['kind']> = Extract<GuestEvent, { readonly kind: Kind }>;

function ioError({ device, path, action, reason, isFull }: Told<'io-error'>) {
  return { device, path: path ?? null, action, reason, isFull };
}

function graphics({ phase, local, remote, authScheme, identities }: Told<'graphics'>) {
  return {
    phase,
    local: { ...local },
    remote: { ...remote },
    authScheme,
    identities: identities.map((one) => ({ ...one })),
  };
}

/** Clients know a disk by its target; QEMU said its alias. */
function blockThreshold({ guest }: LiveDomain, event: Told<'block-threshold'>) {
  const disk = guest.definition.devices.disks.find(({ alias }) => alias === event.device);
  return {
    device: disk?.target.dev ?? event.device,
    path: event.path ?? (disk && diskPath(disk)) ?? null,
    image: event.image ?? null,
    topmost: event.isTopmost ?? true,
    thresholdBytes: event.thresholdBytes,
    excessBytes: event.excessBytes,
  };
}
