/** USB 2.0 controllers with companions, as virt-install makes them: while the guest runs all four have one alias. */
import { expect, it } from 'vitest';
import { parseDomain } from '../../../src/model/domain/domain.ts';
import { deviceProblems } from '../../../src/model/domain/validate/devices.ts';

const models = ['ich9-ehci1', 'ich9-uhci1', 'ich9-uhci2', 'ich9-uhci3'];
const controllers = (index: number) =>
  models
    .map(
      (model) => `<controller type='usb' index='${index}' model='${model}'><alias name='usb'/></controller>`,
    )
    .join('');
const problems = (devices: string) =>
  deviceProblems(
    parseDomain(
      `<domain type='qemu'><name>web</name><memory>65536</memory><os><type>hvm</type></os><devices>${devices}</devices></domain>`,
      { mode: 'lenient' },
    ).definition,
  ).filter(({ path }) => path.endsWith('.alias'));

it('are one device by their alias', () => {
  expect(problems(controllers(0))).toEqual([]);
});

it('share it with no other controller', () => {
  const other = "<controller type='usb' index='1' model='qemu-xhci'><alias name='usb'/></controller>";
  expect(problems(controllers(0) + other)).toEqual([
    { path: 'devices.controller[4].alias', message: "'usb' is taken by devices.controller[0].alias" },
  ]);
});
