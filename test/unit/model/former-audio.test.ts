/** A display changes from SPICE to VNC, and its sound goes with it. */
import { expect, it } from 'vitest';
import { type DomainDef, parseDomain } from '../../../src/model/domain/domain.ts';
import { dropFormerSpiceAudio } from '../../../src/model/domain/former-audio.ts';

const domain = (devices: string): DomainDef =>
  parseDomain(
    `<domain type='qemu'><name>n</name><memory>65536</memory><os><type>hvm</type></os><devices>${devices}</devices></domain>`,
    { mode: 'strict' },
  ).definition;
const spice = domain("<graphics type='spice'/><audio id='1' type='spice'/><audio id='2' type='none'/>");
const types = (given: string, previous = spice) =>
  dropFormerSpiceAudio(domain(given), previous).devices.audios.map(({ id, type }) => `${id} ${type}`);

const both = "<audio id='1' type='spice'/><audio id='2' type='none'/>";

it.each([
  ['goes with the display', `<graphics type='vnc'/>${both}`, spice, ['2 none']],
  ['stays with the display', `<graphics type='spice'/>${both}`, spice, ['1 spice', '2 none']],
  [
    'that is new stays, to be refused',
    "<graphics type='vnc'/><audio id='3' type='spice'/>",
    spice,
    ['3 spice'],
  ],
  ['that never had a display stays', `<graphics type='vnc'/>${both}`, domain(both), ['1 spice', '2 none']],
])('SPICE audio %s', (_what, given, previous, expected) => {
  expect(types(given, previous)).toEqual(expected);
});
