/** `domain launch-security|set-launch-secret` and `host sev`: guests whose memory their host cannot read. */
import { readFile } from 'node:fs/promises';
import type { Result } from '../../api/index.ts';
import { fileError } from '../../base/errors.ts';
import { methodSummary, paramHelp } from '../api-help.ts';
import type { Cli } from '../cli.ts';
import { DOMAIN_HELP, withDomain } from '../domains.ts';
import { badOption } from '../options/fields.ts';
import type { AddCommand } from './command.ts';

export const addLaunchSecurity: AddCommand = (parent, cli) => {
  parent
    .command('launch-security')
    .summary('show how an encrypted guest was measured')
    .description(methodSummary('domain.launch-security'))
    .argument('<domain>', DOMAIN_HELP)
    .action(async (name: string) => {
      const found = await withDomain(cli, name, (client, domain) =>
        client.call('domain.launch-security', { domain }),
      );
      cli.out.result(found, () => measurementFacts(cli, name, found));
    });
};

function measurementFacts(cli: Cli, name: string, found: Result<'domain.launch-security'>): string {
  if (found.kind === null) return `Domain '${name}' has no launch security of AMD.\n`;
  return cli.out.facts([
    ['Kind', found.kind, 'strong'],
    ['State', found.state ?? undefined],
    ['Policy', found.policy === null ? undefined : `0x${found.policy.toString(16).padStart(4, '0')}`],
    ['SEV API', `${found.apiMajor}.${found.apiMinor}, build ${found.buildId}`],
    ['Measurement', found.measurement ?? undefined],
  ]);
}

interface SecretOptions {
  readonly header: string;
  readonly secret: string;
  readonly address?: string;
}

export const addSetLaunchSecret: AddCommand = (parent, cli) => {
  parent
    .command('set-launch-secret')
    .summary('hand a secret to an encrypted guest')
    .description(methodSummary('domain.set-launch-secret'))
    .argument('<domain>', DOMAIN_HELP)
    .requiredOption('--header <file>', 'File with the packet header, in base64.')
    .requiredOption('--secret <file>', 'File with the encrypted secret, in base64.')
    .option('--address <number>', paramHelp('domain.set-launch-secret', 'address'))
    .action(async (name: string, options: SecretOptions) => {
      const [header, secret] = await Promise.all([
        readBase64(cli, options.header),
        readBase64(cli, options.secret),
      ]);
      const address = addressOf(options.address);
      await withDomain(cli, name, (client, domain) =>
        client.call('domain.set-launch-secret', {
          domain,
          header,
          secret,
          ...(address !== undefined && { address }),
        }),
      );
      cli.out.result({ domain: name }, () => `Domain '${name}' has its launch secret.\n`);
    });
};

async function readBase64(cli: Cli, file: string): Promise<string> {
  const path = cli.absolute(file);
  const text = await readFile(path, 'latin1').catch((error: unknown) => {
    throw fileError(error, 'read a part of the secret', path);
  });
  return text.replace(/\s/g, '');
}

function addressOf(text: string | undefined): number | undefined {
  if (text === undefined) return undefined;
  const number = /^(0x[0-9a-f]+|\d+)$/i.test(text) ? Number(text) : Number.NaN;
  if (Number.isSafeInteger(number)) return number;
  throw badOption('--address', text, 'is no address', 'write 0x80d000');
}

export const addSev: AddCommand = (host, cli) => {
  host
    .command('sev')
    .summary('show whether guests can have encrypted memory (AMD SEV)')
    .description(methodSummary('host.sev'))
    .action(async () => {
      const found = await cli.withClient((client) => client.call('host.sev', {}));
      cli.out.result(found, () => sevFacts(cli, found));
    });
};

function sevFacts(cli: Cli, { platform, reason, hint }: Result<'host.sev'>): string {
  if (platform === null)
    return cli.out.facts([
      ['AMD SEV', `not usable: ${reason ?? 'unknown'}`, 'warning'],
      ['Repair', hint ?? undefined],
    ]);
  return cli.out.facts([
    ['AMD SEV', 'usable', 'good'],
    ['Guests with SEV', String(platform.maxGuests)],
    ['Guests with SEV-ES', String(platform.maxEsGuests)],
    ['Encryption bit', String(platform.cbitpos)],
    ['Physical bits lost', String(platform.reducedPhysBits)],
    ['First processor', platform.cpu0Id ?? undefined],
    ['Platform key', platform.pdh],
    ['Certificates', platform.certChain],
  ]);
}
