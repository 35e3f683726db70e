/** Memory modules (DIMM, NVDIMM, virtio-mem, virtio-pmem), and memory shared between guests. */
import type { MemoryDevice, Shmem } from '../../../model/domain/devices/memory-devices.ts';
import { aliasOf, placement } from './address.ts';
import { buildChardev } from './chardev.ts';
import type { Build } from './context.ts';
import { memoryBackend, wholeMebibytes } from './memory.ts';
import type { JsonObject } from './types.ts';

const KIB = 1024;

/** All of <memory> in <devices>. */
export function buildMemoryDevices(b: Build): void {
  for (const [index, device] of b.definition.devices.memories.entries())
    buildMemoryDevice(b, device, `devices.memory[${index}]`);
}

/** True when -machine must be told that there are NVDIMMs. */
export function hasNvdimm(b: Build): boolean {
  return b.definition.devices.memories.some((device) => device.model === 'nvdimm');
}

function buildMemoryDevice(b: Build, device: MemoryDevice, path: string): void {
  refuseParts(b, device, path);
  switch (device.model) {
    case 'dimm':
      return buildDimm(b, device, path);
    case 'nvdimm':
      return buildNvdimm(b, device, path);
    case 'virtio-mem':
      return buildVirtioMem(b, device, path);
    case 'virtio-pmem':
      return buildVirtioPmem(b, device, path);
    case 'sgx-epc':
      b.problem(`${path}.model`, `'sgx-epc' is not supported`);
  }
}

/** Parts that belong to another model. */
function refuseParts(b: Build, device: MemoryDevice, path: string): void {
  const { model, source, target } = device;
  const why = `is not known for model '${model}'`;
  const inFile = model === 'nvdimm' || model === 'virtio-pmem';
  if (!inFile)
    b.refuse(
      `${path}.source`,
      { path: source?.path, pmem: source?.pmem, alignsize: source?.alignSizeKiB },
      why,
    );
  if (inFile) b.refuse(`${path}.source`, { pagesize: source?.pageSizeKiB, nodemask: source?.nodemask }, why);
  if (model !== 'nvdimm')
    b.refuse(path, { label: target.label, readonly: target.readonly, uuid: device.uuid }, why);
  if (model !== 'virtio-mem')
    b.refuse(`${path}.target`, { block: target.blockKiB, requested: target.requestedKiB }, why);
}

/** The memory itself, as RAM. */
function ramBackend(b: Build, device: MemoryDevice, path: string, extra: JsonObject = {}): string {
  const id = `mem${aliasOf(device, path)}`;
  const backend = memoryBackend(b, {
    id,
    sizeKiB: wholeMebibytes(device.target.sizeKiB),
    ...(device.target.node !== undefined && { cell: device.target.node }),
    access: device.access,
    discard: device.discard,
    pageSizeKiB: device.source?.pageSizeKiB,
    nodemask: device.source?.nodemask,
    path,
  });
  b.object(path, { ...backend, ...extra });
  return id;
}

/** The memory itself, as a file of the host whose contents last. */
function fileBackend(b: Build, device: MemoryDevice, path: string): string {
  const { source, target } = device;
  if (source?.path === undefined) b.problem(`${path}.source.path`, 'is missing');
  const id = `mem${aliasOf(device, path)}`;
  const readonly = target.readonly === true;
  const fd = b.need({
    kind: 'memory-file',
    path: source?.path ?? '',
    access: readonly ? 'ro' : 'rw',
    purpose: `${path}.source`,
  });
  b.object(path, {
    'qom-type': 'memory-backend-file',
    id,
    'mem-path': `/proc/self/fd/${fd}`,
    size: target.sizeKiB * KIB,
    // What the guest writes has to reach the file, unless the definition asks for a private copy.
    share: readonly ? undefined : device.access !== 'private',
    align: source?.alignSizeKiB === undefined ? undefined : source.alignSizeKiB * KIB,
    pmem: source?.pmem,
    readonly: readonly ? true : undefined,
  });
  return id;
}

function buildDimm(b: Build, device: MemoryDevice, path: string): void {
  b.device(path, {
    driver: 'pc-dimm',
    node: device.target.node,
    memdev: ramBackend(b, device, path),
    ...placement(b, device, path),
  });
}

function buildNvdimm(b: Build, device: MemoryDevice, path: string): void {
  const { target } = device;
  b.device(path, {
    driver: 'nvdimm',
    node: target.node,
    'label-size': target.label === undefined ? undefined : target.label.sizeKiB * KIB,
    unarmed: target.readonly ? true : undefined,
    uuid: device.uuid,
    memdev: fileBackend(b, device, path),
    ...placement(b, device, path),
  });
}

/** virtio-mem plugs blocks as the guest takes them; until then the backend is only address space. */
function buildVirtioMem(b: Build, device: MemoryDevice, path: string): void {
  const { target } = device;
  b.device(path, {
    driver: 'virtio-mem-pci',
    node: target.node,
    'block-size': target.blockKiB === undefined ? undefined : target.blockKiB * KIB,
    'requested-size': (target.requestedKiB ?? 0) * KIB,
    memdev: ramBackend(b, device, path, { reserve: false }),
    ...placement(b, device, path),
  });
}

function buildVirtioPmem(b: Build, device: MemoryDevice, path: string): void {
  b.device(path, {
    driver: 'virtio-pmem-pci',
    memdev: fileBackend(b, device, path),
    ...placement(b, device, path),
  });
}

/** All of <shmem>. */
export function buildShmems(b: Build): void {
  for (const [index, shmem] of b.definition.devices.shmems.entries()) {
    const path = `devices.shmem[${index}]`;
    if (shmem.model === 'ivshmem-doorbell') buildDoorbell(b, shmem, path);
    else if (shmem.model === 'ivshmem-plain') buildPlain(b, shmem, path);
    else
      b.problem(`${path}.model`, `'ivshmem' is not offered by QEMU; use ivshmem-plain or ivshmem-doorbell`);
  }
}

/** libvirt's default, in bytes. */
const DEFAULT_SHMEM_BYTES = 4 * 1024 * KIB;

function buildPlain(b: Build, shmem: Shmem, path: string): void {
  b.refuse(path, { server: shmem.server, msi: shmem.msi }, `needs model 'ivshmem-doorbell'`);
  const memdev = `shmmem-${aliasOf(shmem, path)}`;
  const size = shmem.sizeBytes ?? DEFAULT_SHMEM_BYTES;
  const file = `/dev/shm/${shmem.name}`;
  const fd = b.need({ kind: 'memory-file', path: file, access: 'rw', createBytes: size, purpose: path });
  b.object(path, {
    'qom-type': 'memory-backend-file',
    id: memdev,
    'mem-path': `/proc/self/fd/${fd}`,
    size,
    share: true,
  });
  b.device(path, { driver: 'ivshmem-plain', memdev, master: master(shmem), ...placement(b, shmem, path) });
}

function buildDoorbell(b: Build, shmem: Shmem, path: string): void {
  b.refuse(path, { size: shmem.sizeBytes }, 'comes from the ivshmem server');
  const socket = shmem.server?.path;
  if (socket === undefined) b.problem(`${path}.server.path`, 'is missing');
  const chardev = buildChardev(b, {
    alias: aliasOf(shmem, path),
    source: { type: 'unix', mode: 'connect', path: socket ?? '', seclabels: [] },
    path,
  });
  b.device(path, {
    driver: 'ivshmem-doorbell',
    chardev,
    vectors: shmem.msi?.vectors,
    ioeventfd: shmem.msi?.ioeventfd,
    master: master(shmem),
    ...placement(b, shmem, path),
  });
}

/** The master's memory goes along when it migrates (QEMU docs/system/devices/ivshmem.rst). */
function master(shmem: Shmem): 'on' | 'off' | undefined {
  return shmem.role === undefined ? undefined : shmem.role === 'master' ? 'on' : 'off';
}
