/** TPMs: swtpm beside QEMU, somebody else's emulator, or the host's own chip. */
import type { Tpm } from '../../../model/domain/devices/small.ts';
import { aliasOf } from './address.ts';
import type { Build } from './context.ts';

/** <tpm>; QEMU takes one. */
export function buildTpms(b: Build): void {
  const { tpms } = b.definition.devices;
  if (tpms.length > 1) b.problem('devices.tpm[1]', 'only one TPM is supported');
  const [tpm] = tpms;
  if (tpm !== undefined) buildTpm(b, tpm, 'devices.tpm[0]');
}

function buildTpm(b: Build, tpm: Tpm, path: string): void {
  const alias = aliasOf(tpm, path);
  const tpmdev = `tpm-${alias}`;
  const model = tpm.model ?? 'tpm-tis';
  if (!b.caps.tpmModels.includes(model)) b.lacks(`${path}.model`, `TPM model '${model}'`);
  buildBackend(b, tpm, tpmdev, path);
  const driver = b.arch === 'aarch64' && model === 'tpm-tis' ? 'tpm-tis-device' : model;
  b.device(path, { driver, tpmdev, id: alias });
}

function buildBackend(b: Build, tpm: Tpm, tpmdev: string, path: string): void {
  const { backend } = tpm;
  const type = backend.type === 'passthrough' ? 'passthrough' : 'emulator';
  if (!b.caps.tpmTypes.includes(type)) b.lacks(`${path}.backend`, `TPM back end '${type}'`);
  switch (backend.type) {
    case 'passthrough': {
      const device = backend.device ?? '/dev/tpm0';
      b.pairs('-tpmdev', [
        ['', 'passthrough'],
        ['id', tpmdev],
        ['path', b.file(device, 'rw', `${path}.backend`, { device: true })],
        // Commands are not cancelled; without a path QEMU would look for the file in sysfs itself.
        ['cancel-path', '/dev/null'],
      ]);
      return;
    }
    case 'external':
      return emulator(b, tpmdev, backend.source.path);
    case 'emulator': {
      b.refuse(
        `${path}.backend`,
        { encryption: backend.encryptionSecret },
        'is not supported: the state lies on disk as it is',
      );
      b.refuse(`${path}.backend`, { active_pcr_banks: backend.activePcrBanks });
      const socket = `${b.context.directory}/swtpm.sock`;
      const stateDirectory = `${b.context.tpmDirectory}/${b.definition.uuid ?? b.definition.name}`;
      b.helpers.push({ kind: 'swtpm', socket, stateDirectory, version: backend.version ?? '2.0' });
      return emulator(b, tpmdev, socket);
    }
  }
}

/** The control socket of swtpm, connected by the daemon; QEMU sends it the data socket. */
function emulator(b: Build, tpmdev: string, socket: string): void {
  b.pairs('-chardev', [
    ['', 'socket'],
    ['id', `chr${tpmdev}`],
    ['fd', b.need({ kind: 'connect', path: socket })],
  ]);
  b.pairs('-tpmdev', [
    ['', 'emulator'],
    ['id', tpmdev],
    ['chardev', `chr${tpmdev}`],
  ]);
}
