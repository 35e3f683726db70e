/** All programs that speak on libvirt's sockets, and every procedure of them by name and by number. */
import { authProcedures } from './auth.ts';
import { checkpointProcedures } from './checkpoint.ts';
import { connectProcedures } from './connect.ts';
import { domainProcedures } from './domain.ts';
import { domainBlockProcedures } from './domain-block.ts';
import { domainDevicesProcedures } from './domain-devices.ts';
import { domainGuestProcedures } from './domain-guest.ts';
import { domainMigrationProcedures } from './domain-migration.ts';
import { domainSaveProcedures } from './domain-save.ts';
import { domainTuningProcedures } from './domain-tuning.ts';
import { eventsProcedures } from './events.ts';
import { eventsLegacyProcedures } from './events-legacy.ts';
import { interfaceProcedures } from './interface.ts';
import { lxcProcedures } from './lxc.ts';
import { networkProcedures } from './network.ts';
import { nodeProcedures } from './node.ts';
import { nodeDeviceProcedures } from './node-device.ts';
import { nwfilterProcedures } from './nwfilter.ts';
import type { Call, Message, Procedure } from './procedure.ts';
import { qemuProcedures } from './qemu.ts';
import { secretProcedures } from './secret.ts';
import { snapshotProcedures } from './snapshot.ts';
import { storageProcedures } from './storage.ts';

/** The main program: 453 procedures (443 of them in libvirt 9.0). */
export const remoteProcedures = {
  ...connectProcedures,
  ...authProcedures,
  ...domainProcedures,
  ...domainDevicesProcedures,
  ...domainBlockProcedures,
  ...domainGuestProcedures,
  ...domainTuningProcedures,
  ...domainSaveProcedures,
  ...domainMigrationProcedures,
  ...snapshotProcedures,
  ...checkpointProcedures,
  ...eventsProcedures,
  ...eventsLegacyProcedures,
  ...networkProcedures,
  ...interfaceProcedures,
  ...storageProcedures,
  ...nodeProcedures,
  ...nodeDeviceProcedures,
  ...secretProcedures,
  ...nwfilterProcedures,
} as const;

type Procedures = typeof remoteProcedures;
type QemuProcedures = typeof qemuProcedures;

/** Names of what a client may call. */
export type RemoteCallName = {
  [K in keyof Procedures]: Procedures[K] extends Call<infer _A, infer _R> ? K : never;
}[keyof Procedures];
/** Names of what the server sends by itself. */
export type RemoteMessageName = {
  [K in keyof Procedures]: Procedures[K] extends Message<infer _M> ? K : never;
}[keyof Procedures];

export type RemoteArgs<K extends RemoteCallName> = Procedures[K] extends Call<infer A, infer _R> ? A : never;
export type RemoteRet<K extends RemoteCallName> = Procedures[K] extends Call<infer _A, infer R> ? R : never;
export type RemoteMessage<K extends RemoteMessageName> = Procedures[K] extends Message<infer M> ? M : never;

export type QemuMessageName = {
  [K in keyof QemuProcedures]: QemuProcedures[K] extends Message<infer _M> ? K : never;
}[keyof QemuProcedures];
export type QemuMessage<K extends QemuMessageName> = QemuProcedures[K] extends Message<infer M> ? M : never;
export type QemuCallName = {
  [K in keyof QemuProcedures]: QemuProcedures[K] extends Call<infer _A, infer _R> ? K : never;
}[keyof QemuProcedures];
export type QemuArgs<K extends QemuCallName> = QemuProcedures[K] extends Call<infer A, infer _R> ? A : never;
export type QemuRet<K extends QemuCallName> = QemuProcedures[K] extends Call<infer _A, infer R> ? R : never;

/** A program with its procedures by number. */
export interface Program {
  readonly name: 'remote' | 'qemu' | 'lxc';
  readonly number: number;
  readonly version: number;
  readonly byNumber: ReadonlyMap<number, { readonly name: string; readonly procedure: Procedure }>;
}

function program(
  name: Program['name'],
  number: number,
  procedures: Readonly<Record<string, Procedure>>,
): Program {
  const rows = Object.entries(procedures).map(
    ([key, procedure]) => [procedure.number, { name: key, procedure }] as const,
  );
  return { name, number, version: 1, byNumber: new Map(rows) };
}

export const remoteProgram = program('remote', 0x20008086, remoteProcedures);
export const qemuProgram = program('qemu', 0x20008087, qemuProcedures);
export const lxcProgram = program('lxc', 0x00068000, lxcProcedures);
/** The administration of libvirtd itself, on a socket of its own; not served. */
export const ADMIN_PROGRAM = 0x06900690;

/** Signs of life (virkeepaliveprotocol.x): messages without a body, serial 0. */
export const keepalive = { program: 0x6b656570, version: 1, ping: 1, pong: 2 } as const;
