/** Interfaces for tests, written as documents write them. */
import type { Interface } from '../../src/model/domain/devices/interface.ts';
import { parseDomain } from '../../src/model/domain/domain.ts';

/** A domain with one interface; `inner` is what stands in its element. */
export function documentOf(inner: string, type = 'network', mac = '52:54:00:00:00:01'): string {
  return `<domain type='qemu'><name>d</name><memory>1024</memory><os><type>hvm</type></os><devices><interface type='${type}'><mac address='${mac}'/>${inner}</interface></devices></domain>`;
}

/** That interface. */
export function nicOf(inner: string, type?: string, mac?: string): Interface {
  const { definition } = parseDomain(documentOf(inner, type, mac), { mode: 'strict' });
  const [found] = definition.devices.interfaces;
  if (found === undefined) throw new Error('no interface');
  return found;
}
