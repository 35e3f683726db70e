/** `network test`: does the network do what it promises? */
import type { Result } from '../../api/index.ts';
import { methodSummary, paramHelp } from '../api-help.ts';
import type { Cli } from '../cli.ts';
import { exitCodes } from '../exit-codes.ts';
import type { Tone } from '../format/colour.ts';
import { findingsText } from '../format/findings.ts';
import type { Output } from '../format/output.ts';
import { NETWORK_HELP } from '../networks.ts';
import type { AddCommand } from './command.ts';

type Step = Result<'network.test'>['steps'][number];

interface TestOptions {
  readonly target?: string;
  readonly name?: string;
}

const tones: Readonly<Record<Step['status'], Tone>> = { ok: 'good', failed: 'bad', skipped: 'quiet' };

export const addNetworkTest: AddCommand = (parent, cli) => {
  parent
    .command('test')
    .summary('prove DHCP, DNS, the way out and in, link by link')
    .description(`${methodSummary('network.test')} Exits with 1 when a step has failed.`)
    .argument('<network>', NETWORK_HELP)
    .option('--target <address>', paramHelp('network.test', 'target'))
    .option('--name <name>', paramHelp('network.test', 'outsideName'))
    .action((network: string, options: TestOptions) => test(cli, network, options));
};

async function test(cli: Cli, network: string, { target, name }: TestOptions): Promise<void> {
  const result = await cli.withClient((client) =>
    client.call('network.test', {
      network,
      ...(target !== undefined && { target }),
      ...(name !== undefined && { outsideName: name }),
    }),
  );
  cli.out.result(result, () => report(cli.out, result.steps));
  if (!result.ok) cli.exitCode = exitCodes.failed;
}

function report(out: Output, steps: readonly Step[]): string {
  const count = (status: Step['status']) => steps.filter((step) => step.status === status).length;
  const verdict = `${count('ok')} ok, ${count('failed')} failed, ${count('skipped')} skipped`;
  return `${findingsText(out, steps, tones)}\n${out.paint('strong', verdict)}\n`;
}
