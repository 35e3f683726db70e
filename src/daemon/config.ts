/** The daemon's configuration file, vireod.toml: every setting with its meaning, default and range. */
import { parse as parseToml } from 'smol-toml';
import * as z from 'zod';
import { reasonOf, VirtError } from '../base/errors.ts';
import { readText, statIfPresent } from '../base/files.ts';
import { logLevels } from '../base/log-levels.ts';
import { saveFormats } from '../model/saved-state/image.ts';
import { parseUrlRule } from '../storage/download/url.ts';

const seconds = (fallback: number, what: string) =>
  z.number().positive().max(86_400).default(fallback).describe(what);

const urlRule = z
  .string()
  .max(1024)
  .refine((text) => parseUrlRule(text) !== undefined, {
    message:
      'must be a scheme (https://), or a scheme, a host and perhaps a directory (https://*.debian.org/cdimage/)',
  });

const mirror = (of: string) =>
  z
    .string()
    .max(1024)
    .regex(/^https?:\/\/[^\s?#@*]+$/, 'must be an http or https URL')
    .optional()
    .describe(`Server for cloud images of ${of}, with the same layout as its own.`);

/** Settings by section. An unknown section or key is an error: a typing mistake must not be a silent default. */
export const configSchema = z.strictObject({
  daemon: z
    .strictObject({
      log_level: z.enum(logLevels).default('info').describe('What is logged.'),
      log_format: z.enum(['json', 'pretty', 'auto']).default('auto').describe('auto: pretty on a terminal.'),
      socket_group: z
        .string()
        .max(64)
        .optional()
        .describe('Group of the socket (default: vireo, else libvirt).'),
      host_name: z.string().max(253).optional().describe('Name of this host as told to clients.'),
      host_uuid: z
        .uuid()
        .optional()
        .describe('UUID of this host as told to clients; must differ between hosts.'),
      idle_exit_seconds: seconds(120, 'A session daemon without clients and guests ends after this.'),
      undo_days: z
        .number()
        .min(0)
        .max(3650)
        .default(7)
        .describe(
          'How long deletions of domains, networks and pools by our own clients can be undone; 0: not at all.',
        ),
      job_wait_seconds: seconds(30, 'How long a call waits for another job on the same domain.'),
    })
    .prefault({}),
  qemu: z
    .strictObject({
      probe_timeout_seconds: seconds(30, 'Limit for asking a QEMU binary for its capabilities.'),
      start_timeout_seconds: seconds(60, 'Limit from the launch of QEMU to its monitor.'),
      command_timeout_seconds: seconds(30, 'Limit for one monitor command.'),
      unplug_timeout_seconds: seconds(10, 'How long a guest may take to let go of a device.'),
      stop_grace_seconds: seconds(10, 'Time between SIGTERM and SIGKILL.'),
      allow_command_line: z.boolean().default(false).describe('Accept <qemu:commandline> in definitions.'),
      sandbox: z.boolean().default(true).describe('Run QEMU in its seccomp sandbox.'),
      save_format: z
        .enum(saveFormats)
        .default('raw')
        .describe(
          'How saved states are packed where nobody says it; sparse needs QEMU 9.0, all but that and raw the program of that name.',
        ),
      user: z.string().max(64).optional().describe('One user for all guests instead of one uid for each.'),
      uid_base: z
        .number()
        .int()
        .min(1000)
        .max(4_000_000_000)
        .default(1_900_000_000)
        .describe('First uid for guests.'),
      uid_count: z
        .number()
        .int()
        .min(1)
        .max(1_000_000)
        .default(65_536)
        .describe('How many uids guests may have.'),
      graphics_port_min: z
        .number()
        .int()
        .min(1024)
        .max(65_535)
        .default(5900)
        .describe('First port for displays.'),
      graphics_port_max: z
        .number()
        .int()
        .min(1024)
        .max(65_535)
        .default(65_535)
        .describe('Last port for displays.'),
    })
    .prefault({}),
  libvirt: z
    .strictObject({
      enabled: z.boolean().default(true).describe("Serve libvirt's clients on libvirt's sockets."),
      read_only_socket: z
        .boolean()
        .default(false)
        .describe('Also make libvirt-sock-ro, where everybody on the host may look and change nothing.'),
      drop_in: z
        .boolean()
        .default(false)
        .describe(
          "Vireo is in libvirtd's place: pid files and logs of guests are also where libvirt's are, and what libvirtd knew is offered once.",
        ),
      tls_addresses: z
        .array(z.string().regex(/^[0-9A-Fa-f.:]+$/, 'is no address'))
        .max(16)
        .default([])
        .describe(
          'Addresses of this host where clients of other hosts are served by TLS (qemu+tls://); none by default.',
        ),
      tls_port: z.number().int().min(1).max(65_535).default(16_514).describe('The port for TLS.'),
      tls_allowed_names: z
        .array(z.string().min(1).max(1024))
        .max(1000)
        .default([])
        .describe(
          "Whose certificates are let in, by distinguished name: 'CN=ann,O=Example', with * for any text. They may do what root may.",
        ),
      tls_ca: z.string().default('/etc/pki/CA/cacert.pem').describe('Who signs the certificates of clients.'),
      tls_crl: z
        .string()
        .default('/etc/pki/CA/cacrl.pem')
        .describe('Certificates that were called back, when the file is there.'),
      tls_cert: z.string().default('/etc/pki/libvirt/servercert.pem').describe("This host's certificate."),
      tls_key: z.string().default('/etc/pki/libvirt/private/serverkey.pem').describe('Its key.'),
      tls_auth: z
        .enum(['certificate', 'sasl'])
        .default('certificate')
        .describe(
          "How clients show who they are, besides their certificate: not at all, or by name and password (SASL SCRAM-SHA-256, 'vireo host sasl-user').",
        ),
      tcp_addresses: z
        .array(z.string().regex(/^[0-9A-Fa-f.:]+$/, 'is no address'))
        .max(16)
        .default([])
        .describe(
          'Addresses of this host where clients are served without any protection (qemu+tcp://): whoever reaches one may do what root may. None by default.',
        ),
      tcp_port: z.number().int().min(1).max(65_535).default(16_509).describe('The port for TCP.'),
      unix_auth: z
        .enum(['group', 'polkit'])
        .default('group')
        .describe(
          "Who may use libvirt's sockets: the group of the socket, or whoever polkit lets (org.libvirt.unix.manage and .monitor); root always may.",
        ),
    })
    .prefault({}),
  statistics: z
    .strictObject({
      history: z
        .boolean()
        .default(true)
        .describe('Keep what running guests use, for graphs: one file of 54 KiB for each guest.'),
      sample_seconds: z
        .number()
        .int()
        .min(10)
        .max(300)
        .default(10)
        .describe('How often running guests are measured for that; QEMU is asked two questions each time.'),
    })
    .prefault({}),
  hooks: z
    .strictObject({
      directory: z
        .string()
        .max(1024)
        .regex(/^(\/.*)?$/, 'is no absolute path')
        .optional()
        .describe(
          "Where libvirt's hook scripts are (default: /etc/libvirt/hooks, ~/.config/libvirt/hooks); '' for none.",
        ),
      timeout_seconds: seconds(60, 'A script that has not ended by then has failed.'),
    })
    .prefault({}),
  network: z
    .strictObject({
      define_default: z
        .boolean()
        .default(true)
        .describe("Define and start the NAT network 'default' at the first start."),
      allow_dnsmasq_options: z.boolean().default(false).describe('Accept <dnsmasq:options> in networks.'),
      firewall_backend: z
        .enum(['auto', 'nftables', 'iptables', 'none'])
        .default('auto')
        .describe('Who filters and translates; auto takes what the host has.'),
      dnsmasq_user: z
        .string()
        .max(64)
        .optional()
        .describe('Who the DHCP and DNS servers of networks run as (default: the first of the usual users).'),
    })
    .prefault({}),
  storage: z
    .strictObject({
      define_default: z
        .boolean()
        .default(true)
        .describe("Define and start the directory pool 'default' at the first start."),
      trash_days: z
        .number()
        .min(0)
        .max(3650)
        .default(7)
        .describe('How long deleted volumes can be restored; 0: they are gone at once.'),
      allow_import_urls: z
        .array(urlRule)
        .max(256)
        .default(['https://', 'http://'])
        .describe(
          'What `volume.import` may fetch: beginnings of URLs; [] is nothing. Addresses of this host and its link are fetched only where the host stands here by name.',
        ),
      import_limit_gib: z
        .number()
        .positive()
        .max(1_048_576)
        .default(1024)
        .describe('The largest image that is imported, packed or unpacked, in GiB.'),
    })
    .prefault({}),
  backup: z
    .strictObject({
      tls_directory: z
        .string()
        .max(1024)
        .regex(/^\/.*$/, 'is no absolute path')
        .default('/etc/pki/libvirt-backup')
        .describe(
          'Certificates for backups that are pulled over TLS: ca-cert.pem, server-cert.pem, server-key.pem. Clients must have one of the same authority.',
        ),
    })
    .prefault({}),
  catalogue: z
    .strictObject({
      debian: mirror('Debian (https://cloud.debian.org/images/cloud)'),
      ubuntu: mirror('Ubuntu (https://cloud-images.ubuntu.com/releases)'),
      fedora: mirror('Fedora (https://dl.fedoraproject.org/pub/fedora/linux/releases)'),
      alpine: mirror('Alpine Linux (https://dl-cdn.alpinelinux.org/alpine)'),
      rocky: mirror('Rocky Linux (https://dl.rockylinux.org/pub/rocky)'),
      arch: mirror('Arch Linux (https://geo.mirror.pkgbuild.com/images)'),
    })
    .prefault({}),
});

export type DaemonConfig = z.output<typeof configSchema>;

/**
 * Reads the configuration; a file that isn't there means defaults.
 * @throws VirtError config.invalid naming file and key
 */
export async function loadConfig(path: string): Promise<DaemonConfig> {
  const wanted = `read the configuration ${path}`;
  if ((await statIfPresent(path)) === undefined) return configSchema.parse({});
  let raw: unknown;
  try {
    raw = parseToml(await readText(path, 1024 * 1024));
  } catch (error) {
    throw new VirtError('config.invalid', {
      wanted,
      reason: reasonOf(error).split('\\x0a')[0] ?? 'unreadable',
      cause: error,
    });
  }
  const result = configSchema.safeParse(raw);
  if (result.success) return result.data;
  const problems = result.error.issues.map((issue) => ({
    path: issue.path.join('.'),
    message: issue.message,
  }));
  const first = problems[0];
  throw new VirtError('config.invalid', {
    wanted,
    reason: `${first?.path ? `${first.path}: ` : ''}${first?.message ?? 'wrong'}`,
    details: { problems },
  });
}
