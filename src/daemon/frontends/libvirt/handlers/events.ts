/** Asking for events and giving them back, in the form with callbacks and in the old one. */
import type { Call, RemoteHandlers } from '../context.ts';

/** virDomainEventID: the one of the oldest form. */
const LIFECYCLE = 0;

export function eventHandlers() {
  return {
    connectDomainEventCallbackRegisterAny: ({ eventId, dom }, call) => ({
      callbackId: callbacks(call).register('domain', eventId, dom?.uuid),
    }),
    connectDomainEventCallbackDeregisterAny: ({ callbackId }, call) =>
      callbacks(call).deregister('domain', callbackId),
    connectDomainEventRegister: (_, call) => {
      callbacks(call).registerLegacy(LIFECYCLE);
      return { cbRegistered: 1 };
    },
    connectDomainEventDeregister: (_, call) => {
      callbacks(call).deregisterLegacy(LIFECYCLE);
      return { cbRegistered: 0 };
    },
    connectDomainEventRegisterAny: ({ eventId }, call) => callbacks(call).registerLegacy(eventId),
    connectDomainEventDeregisterAny: ({ eventId }, call) => callbacks(call).deregisterLegacy(eventId),
    connectNetworkEventRegisterAny: ({ eventId, net }, call) => ({
      callbackId: callbacks(call).register('network', eventId, net?.uuid),
    }),
    connectNetworkEventDeregisterAny: ({ callbackId }, call) =>
      callbacks(call).deregister('network', callbackId),
    connectStoragePoolEventRegisterAny: ({ eventId, pool }, call) => ({
      callbackId: callbacks(call).register('storagePool', eventId, pool?.uuid),
    }),
    connectStoragePoolEventDeregisterAny: ({ callbackId }, call) =>
      callbacks(call).deregister('storagePool', callbackId),
    connectNodeDeviceEventRegisterAny: ({ eventId, dev }, call) => ({
      callbackId: callbacks(call).register('nodeDevice', eventId, dev?.name),
    }),
    connectNodeDeviceEventDeregisterAny: ({ callbackId }, call) =>
      callbacks(call).deregister('nodeDevice', callbackId),
    connectSecretEventRegisterAny: ({ eventId, secret }, call) => ({
      callbackId: callbacks(call).register('secret', eventId, secret?.uuid),
    }),
    connectSecretEventDeregisterAny: ({ callbackId }, call) =>
      callbacks(call).deregister('secret', callbackId),
  } satisfies RemoteHandlers;
}

const callbacks = (call: Call) => call.connection.callbacks;
