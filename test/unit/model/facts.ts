/** Facts for defaults in tests: a host with every emulator, identifiers that count. */
import type { DefaultsFacts } from '../../../src/model/domain/defaults.ts';

const defaultMachines: Readonly<Record<string, string>> = { x86_64: 'pc', i686: 'pc' };
const canonical: Readonly<Record<string, string>> = {
  pc: 'pc-i440fx-7.2',
  q35: 'pc-q35-7.2',
  virt: 'virt-7.2',
};

export function testFacts(overrides: Partial<DefaultsFacts> = {}): DefaultsFacts {
  let counter = 0;
  const next = (): string => (++counter).toString(16).padStart(2, '0');
  return {
    hostArch: 'x86_64',
    emulatorFor: (arch) => `/usr/bin/qemu-system-${arch}`,
    canonicalMachine(arch, name) {
      const wanted = name ?? defaultMachines[arch];
      return wanted === undefined ? undefined : (canonical[wanted] ?? wanted);
    },
    newUuid: () => `00000000-0000-4000-8000-0000000000${next()}`,
    newMac: () => `52:54:00:00:00:${next()}`,
    ...overrides,
  };
}
