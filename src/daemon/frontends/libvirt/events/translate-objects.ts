/** The engine's events of all that is no domain, in libvirt's words. */
import type { PublishedEvent } from '../../../../api/index.ts';
import type { RemoteMessageName } from '../../../../libvirt/protocol/programs.ts';
import { wireSecretOf } from '../handlers/secrets.ts';
import { metadataTypes, type OutgoingEvent } from './outgoing.ts';

/** virNetworkEventLifecycleType. */
const networkLifecycle: Readonly<Record<string, number>> = {
  'network.defined': 0,
  'network.undefined': 1,
  'network.started': 2,
  'network.stopped': 3,
};

/** Events of networks, pools, node devices and secrets; none of anything else. */
export function translateObject(event: PublishedEvent): OutgoingEvent[] {
  const number = networkLifecycle[event.event];
  if (number !== undefined && 'network' in event && event.network !== undefined) {
    const { uuid, name } = event.network;
    const body = { net: { uuid, name }, event: number, detail: 0 };
    return [networkEvent(0, 'networkEventLifecycle', uuid, body)];
  }
  if (event.event !== 'network.metadata-changed') return translatePool(event);
  const { uuid, name } = event.network;
  const body = { net: { uuid, name }, type: metadataTypes[event.what], nsuri: event.uri };
  return [networkEvent(1, 'networkEventCallbackMetadataChange', uuid, body)];
}

/** virStoragePoolEventLifecycleType. */
const poolLifecycle: Readonly<Record<string, number>> = {
  'pool.defined': 0,
  'pool.undefined': 1,
  'pool.started': 2,
  'pool.stopped': 3,
  'pool.built': 4,
  'pool.deleted': 5,
};

function translatePool(event: PublishedEvent): OutgoingEvent[] {
  if (!('pool' in event) || event.pool === undefined) return translateNodeDevice(event);
  const { uuid, name } = event.pool;
  const pool = { uuid, name };
  const number = poolLifecycle[event.event];
  if (number !== undefined)
    return [poolEvent(0, 'storagePoolEventLifecycle', uuid, { pool, event: number, detail: 0 })];
  return event.event === 'pool.refreshed' ? [poolEvent(1, 'storagePoolEventRefresh', uuid, { pool })] : [];
}

/** virNodeDeviceEventLifecycleType. */
const nodeDeviceLifecycle: Readonly<Record<string, number>> = {
  'node-device.added': 0,
  'node-device.removed': 1,
};

/** Node devices have no uuid: callbacks of one are by its name. */
function translateNodeDevice(event: PublishedEvent): OutgoingEvent[] {
  if (!('device' in event) || typeof event.device === 'string') return translateSecret(event);
  const { name } = event.device;
  const shared = { object: 'nodeDevice', uuid: name } as const;
  const number = nodeDeviceLifecycle[event.event];
  if (number !== undefined)
    return [
      {
        ...shared,
        ...{ eventId: 0, message: 'nodeDeviceEventLifecycle' },
        body: (callbackId) => ({ callbackId, dev: { name }, event: number, detail: 0 }),
      },
    ];
  if (event.event !== 'node-device.changed') return [];
  return [
    {
      ...shared,
      ...{ eventId: 1, message: 'nodeDeviceEventUpdate' },
      body: (callbackId) => ({ callbackId, dev: { name } }),
    },
  ];
}

/** virSecretEventLifecycleType. */
const secretLifecycle: Readonly<Record<string, number>> = { 'secret.defined': 0, 'secret.undefined': 1 };

function translateSecret(event: PublishedEvent): OutgoingEvent[] {
  if (!('secret' in event)) return [];
  const secret = wireSecretOf(event.secret);
  const shared = { object: 'secret', uuid: secret.uuid } as const;
  const number = secretLifecycle[event.event];
  if (number !== undefined)
    return [
      {
        ...shared,
        ...{ eventId: 0, message: 'secretEventLifecycle' },
        body: (callbackId) => ({ callbackId, secret, event: number, detail: 0 }),
      },
    ];
  if (event.event !== 'secret.value-changed') return [];
  return [
    {
      ...shared,
      ...{ eventId: 1, message: 'secretEventValueChanged' },
      body: (callbackId) => ({ callbackId, secret }),
    },
  ];
}

function poolEvent(eventId: number, message: RemoteMessageName, uuid: string, body: object): OutgoingEvent {
  return {
    object: 'storagePool',
    eventId,
    uuid,
    message,
    body: (callbackId) => ({ callbackId, ...body }),
  };
}

function networkEvent(
  eventId: number,
  message: RemoteMessageName,
  uuid: string,
  body: object,
): OutgoingEvent {
  return { object: 'network', eventId, uuid, message, body: (callbackId) => ({ callbackId, ...body }) };
}
