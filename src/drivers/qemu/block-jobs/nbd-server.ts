/** NBD servers on unix sockets of this host: connected by us, since QEMU's user may not reach them. */
import { randomBytes } from 'node:crypto';
import { errnoOf, fileError } from '../../../base/errors.ts';
import { close, connectUnix } from '../../../base/ffi.ts';
import type { LivePlan, LiveStep } from '../hotplug/steps.ts';
import type { QmpClient } from '../qmp/client.ts';

/**
 * The plan with connections in place of the paths of such sockets. QEMU does not connect again when one breaks: the job
 * fails then, as it does with every server that goes away.
 * @throws VirtError file.*, qmp.*
 */
export async function withConnections(qmp: QmpClient, plan: LivePlan): Promise<LivePlan> {
  const steps: LiveStep[] = [];
  for (const step of plan.steps) {
    const { server, driver } = step.arguments;
    const path =
      driver === 'nbd' && isObject(server) && server['type'] === 'unix' ? server['path'] : undefined;
    if (typeof path !== 'string') steps.push(step);
    else {
      const str = await connectFor(qmp, path);
      steps.push({ ...step, arguments: { ...step.arguments, server: { type: 'fd', str } } });
    }
  }
  return { ...plan, steps };
}

const isObject = (value: unknown): value is Readonly<Record<string, unknown>> =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

/** QEMU's name of the connection. */
async function connectFor(qmp: QmpClient, path: string): Promise<string> {
  const name = `vireo-nbd-${randomBytes(4).toString('hex')}`;
  let fd: number;
  try {
    fd = connectUnix(path);
  } catch (error) {
    throw errnoOf(error) === undefined ? error : fileError(error, 'connect to an NBD server', path);
  }
  try {
    await qmp.passDescriptor(name, fd);
  } finally {
    close(fd);
  }
  return name;
}
