/** QEMU's own program: the raw monitor. */
import { isVirtError, VirtError } from '../../../../base/errors.ts';
import { errorNumber, LibvirtError } from '../../../../libvirt/errors.ts';
import type { Engine, QemuHandlers } from '../context.ts';
import { monitorFilter } from '../events/monitor-filter.ts';
import { agentSeconds } from './domain-guest.ts';
import { checkFlags, domainOf, invalid } from './support.ts';

/** virDomainQemuMonitorCommandFlags: the command is of the human monitor. */
const HUMAN = 1;

export function qemuHandlers(engine: Engine) {
  const { controls } = engine.domains;
  return {
    domainMonitorCommand: async ({ dom, cmd, flags }, call) => {
      checkFlags(flags, HUMAN, call);
      const domain = domainOf(engine, dom);
      if ((flags & HUMAN) !== 0) {
        const args = { 'command-line': cmd };
        return { result: String(await controls.monitorCommand(domain, 'human-monitor-command', args)) };
      }
      const { execute, args, id } = parseCommand(cmd);
      const reply = await replyOf(() => controls.monitorCommand(domain, execute, args));
      return { result: JSON.stringify(id === undefined ? reply : { ...reply, id }) };
    },
    domainMonitorCommandWithFiles: async ({ dom, cmd, flags }, call) => {
      checkFlags(flags, 0, call);
      const domain = domainOf(engine, dom);
      const [fd, ...more] = call.fds;
      if (more.length > 0) throw invalid('at most one descriptor goes with a command');
      const { execute, args, id } = parseCommand(cmd);
      const reply = await replyOf(() => controls.monitorCommand(domain, execute, args, fd));
      return { result: JSON.stringify(id === undefined ? reply : { ...reply, id }) };
    },
    connectDomainMonitorEventRegister: ({ dom, event, flags }, { connection }) => ({
      callbackId: connection.monitorCallbacks.register(engine.domains.monitorEvents, {
        uuid: dom === null ? undefined : domainOf(engine, dom).uuid,
        matches: monitorFilter(event, flags),
      }),
    }),
    connectDomainMonitorEventDeregister: ({ callbackId }, { connection }) =>
      connection.monitorCallbacks.deregister(callbackId),
    domainAgentCommand: async ({ dom, cmd, timeout, flags }, call) => {
      checkFlags(flags, 0, call);
      const domain = domainOf(engine, dom);
      const { execute, args } = parseCommand(cmd);
      const seconds = agentSeconds(timeout);
      const reply = await engine.domains.agent.command(domain, execute, args, {
        ...(seconds !== undefined && { timeoutMs: seconds * 1000 }),
      });
      return { result: JSON.stringify({ return: reply }) };
    },
    domainAttach: () => {
      throw new LibvirtError(
        errorNumber.noSupport,
        'a QEMU that this daemon did not start has no sockets and identity of its own',
      );
    },
  } satisfies QemuHandlers;
}

/** The monitor's answer, an error of it too: a client of the raw monitor wants to see it. */
async function replyOf(run: () => Promise<unknown>): Promise<Record<string, unknown>> {
  try {
    return { return: await run() };
  } catch (error) {
    if (!isVirtError(error, 'qmp.failed')) throw error;
    return { error: errorObject(error) };
  }
}

function errorObject({ reason, details }: VirtError): Record<string, unknown> {
  return { class: details?.['class'] ?? 'GenericError', desc: reason };
}

interface MonitorCommand {
  readonly execute: string;
  readonly args: Readonly<Record<string, unknown>> | undefined;
  readonly id: unknown;
}

function parseCommand(text: string): MonitorCommand {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    throw invalid(`cannot parse command '${text.slice(0, 200)}' as JSON`);
  }
  if (
    typeof value !== 'object' ||
    value === null ||
    !('execute' in value) ||
    typeof value.execute !== 'string'
  )
    throw invalid("a command is an object with 'execute'");
  const args = 'arguments' in value ? value.arguments : undefined;
  if (args !== undefined && (typeof args !== 'object' || args === null))
    throw invalid("'arguments' is no object");
  return {
    execute: value.execute,
    args: args as Readonly<Record<string, unknown>> | undefined,
    id: 'id' in value ? value.id : undefined,
  };
}
