/** Command lines of small definitions, and the findings of those that are refused. */
import { isVirtError } from '../../../src/base/errors.ts';
import { buildCommand } from '../../../src/drivers/qemu/argv/build.ts';
import type { BuildContext, QemuCommand } from '../../../src/drivers/qemu/argv/types.ts';
import type { QemuCapabilities } from '../../../src/drivers/qemu/probe/types.ts';
import { complete, context, recorded } from '../../golden/argv/cases.ts';

export const capabilities = recorded('7.2');

export interface Parts {
  readonly type?: 'kvm' | 'qemu';
  readonly machine?: string;
  readonly top?: string;
  readonly os?: string;
  readonly features?: string;
  readonly devices?: string;
  readonly name?: string;
}

export function document({
  type = 'qemu',
  machine = 'q35',
  top = '',
  os = '',
  features = '',
  devices = '',
  name = 'a',
}: Parts) {
  return `<domain type='${type}' xmlns:qemu='http://libvirt.org/schemas/domain/qemu/1.0'>
    <name>${name}</name><uuid>11111111-2222-4333-8444-000000000099</uuid><memory unit='MiB'>128</memory>
    <os><type arch='x86_64' machine='${machine}'>hvm</type>${os}</os><features><acpi/>${features}</features>
    ${top}<devices>${devices}</devices></domain>`;
}

export function build(
  parts: Parts,
  caps: QemuCapabilities = capabilities,
  extra: Partial<BuildContext> = {},
): QemuCommand {
  return buildCommand(complete(document(parts), capabilities), caps, { ...context, ...extra });
}

/** The findings of a build that must fail: `path: message`. */
export function findings(run: () => unknown): { code: string; problems: string[] } {
  try {
    run();
  } catch (error) {
    if (!isVirtError(error)) throw error;
    const problems = error.details?.problems as { path: string; message: string }[];
    return { code: error.code, problems: problems.map(({ path, message }) => `${path}: ${message}`) };
  }
  throw new Error('the build went through');
}

export const disk = (body: string, attributes = "type='file' device='disk'") =>
  `<disk ${attributes}>${body}</disk>`;
