/** Steps from the host into the network: a port forward of the test's own, and those that are configured. */
import { connect, createServer, isIPv6 } from 'node:net';
import { errnoOf, VirtError } from '../../base/errors.ts';
import type { PortForward } from '../plan.ts';
import { stepsOf, type TestContext, type TestStep } from './step.ts';

const CONNECT_MS = 2500;

/** Leads a free port of the host to the probe, and calls it. */
export async function ownForwardStep(context: TestContext): Promise<TestStep> {
  const { plan, probe, backend, reconcile, signal } = context;
  const step = stepsOf('way-in', 'Port forwards');
  if (plan.forward.mode === 'none') return step.skipped('an isolated network has no port forwards');
  if (backend === 'none') return step.skipped('the firewall is switched off, and port forwards with it');
  if (probe.address === undefined) return step.skipped('the test has no IPv4 address');
  const hostPort = await freePort();
  const forward: PortForward = {
    protocol: 'tcp',
    family: 4,
    hostPort,
    count: 1,
    guestAddress: probe.address,
    guestPort: probe.port,
  };
  try {
    await reconcile({ ...plan, portForwards: [...plan.portForwards, forward] });
    const outcome = await tryConnect('127.0.0.1', hostPort, signal);
    if (outcome === 'connected') return step.ok(`port ${hostPort} of the host led to the test and back`);
    return step.failed(
      `port ${hostPort} of the host should have led to the test: ${outcome}`,
      `vireo network reload ${plan.name}; 'vireo host check' tells who else filters packets`,
    );
  } finally {
    await reconcile(plan);
  }
}

/** One step for each forward whose guest has an address. */
export async function forwardSteps({ plan, signal }: TestContext): Promise<TestStep[]> {
  const steps: TestStep[] = [];
  for (const forward of plan.portForwards) steps.push(await forwardStep(forward, signal));
  return steps;
}

async function forwardStep(forward: PortForward, signal: AbortSignal): Promise<TestStep> {
  const { protocol, hostPort, guestAddress, guestPort, family } = forward;
  const step = stepsOf(`forward-${protocol}-${hostPort}`, `Forward of ${protocol} port ${hostPort}`);
  const guest = `${isIPv6(guestAddress) ? `[${guestAddress}]` : guestAddress}:${guestPort}`;
  if (protocol === 'udp')
    return step.skipped(`leads to ${guest}; whether somebody listens on UDP cannot be asked`);
  const address = forward.hostAddress ?? (family === 4 ? '127.0.0.1' : '::1');
  const outcome = await tryConnect(address, hostPort, signal);
  switch (outcome) {
    case 'connected':
      return step.ok(`${guest} takes connections`);
    case 'refused':
      return step.ok(`leads to ${guest}, where nothing listens now`);
    default:
      return step.failed(
        `${guest}: ${outcome}`,
        `see that the guest runs and that its own firewall lets port ${guestPort} in`,
      );
  }
}

/** A port that nobody has now. */
async function freePort(): Promise<number> {
  const server = createServer();
  return new Promise((settle, fail) => {
    server.once('error', fail);
    server.listen(0, '0.0.0.0', () => {
      const address = server.address();
      server.close(() =>
        typeof address === 'object' && address ? settle(address.port) : fail(new Error('no port')),
      );
    });
  });
}

/** `connected`, `refused`, or what happened in words. @throws VirtError operation.aborted */
function tryConnect(host: string, port: number, signal: AbortSignal): Promise<string> {
  return new Promise((settle, fail) => {
    const socket = connect({ host, port });
    const end = (outcome: string) => {
      socket.destroy();
      signal.removeEventListener('abort', abort);
      settle(outcome);
    };
    const abort = () => {
      socket.destroy();
      fail(new VirtError('operation.aborted', { wanted: 'test a network', reason: 'cancelled' }));
    };
    if (signal.aborted) return abort();
    signal.addEventListener('abort', abort, { once: true });
    socket.setTimeout(CONNECT_MS, () => end(`no answer within ${CONNECT_MS / 1000} s`));
    socket.once('connect', () => end('connected'));
    socket.once('error', (error) =>
      end(errnoOf(error) === 'ECONNREFUSED' ? 'refused' : (errnoOf(error) ?? error.message)),
    );
  });
}
