/** Events of secrets, network filters and node devices. */
import * as z from 'zod';
import { event } from '../method.ts';
import { filterIdentity } from '../nwfilter.ts';
import { secretIdentity } from '../secret.ts';

const since = '0.1.0';
const secret = { secret: secretIdentity };

export const secretEvents = [
  event({
    name: 'secret.defined',
    since,
    summary: 'A secret was defined.',
    payload: () => z.object({ ...secret, isNew: z.boolean() }),
  }),
  event({
    name: 'secret.undefined',
    since,
    summary: 'A secret was forgotten, with its value.',
    payload: () => z.object(secret),
  }),
  event({
    name: 'secret.value-changed',
    since,
    summary: 'A secret has another value.',
    payload: () => z.object(secret),
  }),
] as const;

const filter = { filter: filterIdentity };

export const filterEvents = [
  event({
    name: 'nwfilter.defined',
    since,
    summary: 'A network filter was stored, and is in force where running guests use it.',
    payload: () => z.object({ ...filter, isNew: z.boolean() }),
  }),
  event({
    name: 'nwfilter.undefined',
    since,
    summary: 'A stored network filter was forgotten.',
    payload: () => z.object(filter),
  }),
] as const;

const nodeDevice = { device: z.object({ name: z.string().describe("libvirt's name: `pci_0000_00_02_0`.") }) };

export const nodeDeviceEvents = [
  event({
    name: 'node-device.added',
    since,
    summary: 'The host has a new device.',
    payload: () => z.object(nodeDevice),
  }),
  event({
    name: 'node-device.removed',
    since,
    summary: 'A device of the host is gone.',
    payload: () => z.object(nodeDevice),
  }),
  event({
    name: 'node-device.changed',
    since,
    summary: 'A device of the host is another now: it has a medium, or another driver.',
    payload: () => z.object(nodeDevice),
  }),
] as const;
