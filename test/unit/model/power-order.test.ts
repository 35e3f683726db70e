/** When a guest starts and ends with its host, in the metadata of its definition. */
import { expect, it } from 'vitest';
import { formatDomain, parseDomain } from '../../../src/model/domain/domain.ts';
import { powerOrderOf, withPowerOrder } from '../../../src/model/domain/power-order.ts';

const parse = (metadata: string) =>
  parseDomain(
    `<domain type='kvm'><name>a</name>${metadata}<memory>1024</memory><os><type>hvm</type></os></domain>`,
    { mode: 'strict' },
  ).definition;
const silent = { order: 0, startDelaySeconds: 0, hostDown: undefined, timeoutSeconds: undefined };

it('says nothing where nothing stands', () => {
  expect(powerOrderOf(parse(''))).toEqual(silent);
});

it('comes back from the document, beside the metadata of others', () => {
  const order = { order: 7, startDelaySeconds: 5, hostDown: 'save', timeoutSeconds: 90 } as const;
  const other = parse("<metadata><x:y xmlns:x='urn:x'/></metadata>");
  const xml = formatDomain(withPowerOrder(other, order), { inactive: true });
  expect(xml).toContain('urn:x');
  const read = parseDomain(xml, { mode: 'strict' }).definition;
  expect(powerOrderOf(read)).toEqual(order);
  expect(withPowerOrder(read, silent)).toEqual(other);
});

it('counts as not said where it makes no sense', () => {
  const text =
    "<p:power xmlns:p='urn:vireo:domain:power:1' order='-1' start-delay='x' host-down='eat' timeout='9999999'/>";
  expect(powerOrderOf(parse(`<metadata>${text}</metadata>`))).toEqual(silent);
});
