import { expect, it } from 'vitest';
import { definitionText } from '../../../src/daemon/services/definition-texts.ts';
import { formatDomain, parseDomain } from '../../../src/model/domain/domain.ts';

const xml = `<domain type='qemu'><name>g</name><memory unit='KiB'>65536</memory><os><type>hvm</type></os>
  <devices><disk type='file'><source file='/d.img'/><target dev='vda' bus='virtio'/></disk></devices></domain>`;
const parsed = () => parseDomain(xml, { mode: 'strict' }).definition;

it('is what the definition is written as, whichever of its parts is replaced', () => {
  const definition = parsed();
  const isTrue = () => definitionText(definition) === formatDomain(definition, { secure: true });
  expect(isTrue()).toBe(true);
  const first = definitionText(definition);
  expect(definitionText(definition)).toBe(first);
  Object.assign(definition, { currentMemoryKiB: 1024 });
  expect([isTrue(), definitionText(definition) === first]).toEqual([true, false]);
  Object.assign(definition.devices, { disks: [] });
  expect([isTrue(), definitionText(definition).includes('vda')]).toEqual([true, false]);
  Object.assign(definition, { title: 'a title', devices: parsed().devices });
  expect([isTrue(), definitionText(definition).includes('vda')]).toEqual([true, true]);
  Reflect.deleteProperty(definition, 'title');
  expect([isTrue(), definitionText(definition).includes('a title')]).toEqual([true, false]);
});
