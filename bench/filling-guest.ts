/** A guest whose memory holds something: a boot sector fills it, each word with its own address, and says so. */
import { execFileSync } from 'node:child_process';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import type { Bench } from './measurements/bench.ts';
import type { Side } from './sides.ts';

/**
 * 32-bit words from 1 MiB up, then `R` on the first serial port, then rest:
 *
 *     cli; xor ax, ax; mov ds, ax; lgdt [gdtr]; mov eax, cr0; or al, 1; mov cr0, eax; jmp 8:next      (16 bits)
 *     next: mov ax, 16; mov ds, ax; mov edi, 0x100000
 *     fill: mov [edi], edi; add edi, 4; cmp edi, END; jb fill                                          (32 bits)
 *     mov al, 'R'; mov dx, 0x3f8; out dx, al; rest: hlt; jmp rest
 *     gdtr: flat code (8) and data (16) of 4 GiB
 */
const program =
  'fa31c08ed8660f01163d7c0f20c00c010f22c066ea1b7c0000080066b810008ed8bf00001000' +
  '893f83c70481ff0000f00272f3b05266baf803eef4ebfd' +
  '1700437c00000000000000000000ffff0000009acf00ffff00000092cf00';
/** Where END stands in it. */
const END_OFFSET = 0x2d;
const MIB = 1024 * 1024;

interface FillingGuest {
  readonly name: string;
  readonly memoryMiB: number;
  /** The boot disk, which is made, and where the serial port goes. */
  readonly disk: string;
  readonly serial: string;
}

/** Writes its disk, and gives its definition: all but its last 16 MiB of memory get filled. */
function fillingGuestXml({ name, memoryMiB, disk, serial }: FillingGuest): string {
  const sector = Buffer.alloc(MIB);
  sector.write(program, 'hex');
  sector.writeUInt32LE((memoryMiB - 16) * MIB, END_OFFSET);
  sector.writeUInt16LE(0xaa55, 510); // what a BIOS looks for
  writeFileSync(disk, sector);
  return `<domain type='qemu'><name>${name}</name><memory unit='MiB'>${memoryMiB}</memory><vcpu>1</vcpu>
<os><type arch='x86_64' machine='pc'>hvm</type><boot dev='hd'/></os><features><acpi/><apic/></features>
<devices><controller type='usb' model='none'/>
<disk type='file' device='disk'><driver name='qemu' type='raw'/><source file='${disk}'/><target dev='vda' bus='virtio'/></disk>
<serial type='file'><source path='${serial}'/></serial><memballoon model='none'/></devices></domain>`;
}

/** Waits until it has filled its memory. */
async function untilFilled({ name, serial }: FillingGuest): Promise<void> {
  for (let tries = 0; tries < 3000; tries += 1) {
    if (existsSync(serial) && readFileSync(serial).includes('R')) return;
    await delay(10);
  }
  throw new Error(`guest ${name} has not filled its memory`);
}

/** A guest with memory in use, of either daemon. */
export class FilledGuest {
  readonly side: Side;
  readonly name: string;
  /** Where its files are. */
  readonly directory: string;

  private constructor(side: Side, name: string, directory: string) {
    this.side = side;
    this.name = name;
    this.directory = directory;
  }

  static async start(
    bench: Bench,
    side: Side,
    {
      topic,
      memoryMiB,
      format,
    }: { readonly topic: string; readonly memoryMiB: number; readonly format: 'raw' | 'qcow2' },
  ): Promise<FilledGuest> {
    const name = `${topic}-${side.name}`;
    const directory = bench.place.make(`${name}-${memoryMiB}`);
    const disk = join(directory, 'disk');
    const raw = format === 'raw' ? disk : join(directory, 'raw');
    const guest: FillingGuest = { name, memoryMiB, disk: raw, serial: join(directory, 'serial') };
    const xml = fillingGuestXml(guest).replace("type='raw'", `type='${format}'`).replace(raw, disk);
    if (format === 'qcow2') execFileSync('qemu-img', ['convert', '-f', 'raw', '-O', 'qcow2', raw, disk]);
    const definition = join(directory, 'xml');
    writeFileSync(definition, xml);
    await side.virsh.tell(`define ${definition}`);
    await side.virsh.tell(`start ${name}`);
    await untilFilled(guest);
    return new FilledGuest(side, name, directory);
  }

  tell(command: string): Promise<number> {
    return this.side.virsh.tell(command);
  }

  async end(): Promise<void> {
    await this.tell(`destroy ${this.name}`);
    await this.tell(`undefine ${this.name}`);
  }
}
