/** The connection: opening, features, versions, capabilities. */
import { formatXml, xmlElement } from '../../../../base/xml/tree.ts';
import type { Smbios } from '../../../../kvm/identity.ts';
import { errorDomain, errorNumber, LibvirtError } from '../../../../libvirt/errors.ts';
import type { DaemonMode } from '../../../paths.ts';
import type { Engine, RemoteHandlers } from '../context.ts';
import { cpuQueryOf, offered } from './cpu.ts';
import { checkFlags } from './support.ts';

/** The libvirt whose API we answer as: 9.0.0, counted as major * 1,000,000 + minor * 1,000 + release. */
const LIBRARY_VERSION = 9_000_000;

/**
 * Besides libvirt-host.h's two: a note that the client has made for itself (remote_driver.c: it may start the daemon), which
 * libvirt's library sends on for an ordinary user's session.
 */
const openFlags = { readOnly: 1, noAliases: 2, mayStart: 4 } as const;

/** virDrvFeature (libvirt_internal.h). */
const feature = {
  fdPassing: 8,
  typedParamString: 9,
  keepalive: 10,
  xmlMigratable: 11,
  eventCallback: 14,
  closeCallback: 15,
  /** The order of two words of NETWORK_UPDATE, which clients swap for a server that has it not. */
  networkUpdateOrder: 16,
} as const;

const supportedFeatures: ReadonlySet<number> = new Set(Object.values(feature));

/**
 * virConnectGetDomainCapabilitiesFlags: leave out features that QEMU calls deprecated. It calls none so on the architectures
 * that are served here, so the answer is the same (qapi/machine-target.json: deprecated-props, of s390x alone).
 */
const DISABLE_DEPRECATED = 1;

/** QEMU's own limit of virtual CPUs per machine is below; what libvirt tells for it (qemu_capabilities.c). */
const MAX_VCPUS_TCG = 255;

/** URIs by scheme that libvirt's modular daemons know; all of them are this one daemon. */
const schemes = ['qemu', 'network', 'storage', 'nodedev', 'secret', 'nwfilter', 'interface'];

export function connectHandlers(engine: Engine) {
  return {
    ...opening(engine),
    ...hypervisor(engine),
    ...documents(engine),
  } satisfies RemoteHandlers;
}

/** From the first word to the last, and what both sides can do. */
function opening(engine: Engine) {
  return {
    connectOpen: ({ name, flags }, { connection, ...call }) => {
      checkFlags(flags, openFlags.readOnly | openFlags.noAliases | openFlags.mayStart, call);
      if (connection.uri !== undefined)
        throw new LibvirtError(errorNumber.internalError, 'connection is already open', errorDomain.rpc);
      connection.open(openedUri(name, engine.mode), (flags & openFlags.readOnly) !== 0);
    },
    connectClose: (_, { connection }) => connection.closeAfterReply(),
    connectSupportsFeature: ({ feature: asked }, { connection }) => {
      if (asked === feature.keepalive) connection.startKeepalive();
      else if (connection.uri === undefined)
        throw new LibvirtError(errorNumber.internalError, 'connection not open', errorDomain.rpc);
      if (asked === feature.fdPassing) {
        // Over the network there is no way for them.
        if (connection.remote !== undefined) return { supported: 0 };
        connection.expectDescriptors();
      }
      return { supported: supportedFeatures.has(asked) ? 1 : 0 };
    },
    connectGetUri: (_, { connection }) => ({ uri: connection.uri ?? '' }),
    // A local socket is as safe as the host's file system.
    connectIsSecure: (_, { connection: { remote } }) => ({
      secure: remote === undefined || remote.isEncrypted ? 1 : 0,
    }),
    // The connection to the hypervisor is this process: it closes with the socket, of which clients learn by themselves.
    connectRegisterCloseCallback: () => undefined,
    connectUnregisterCloseCallback: () => undefined,
  } satisfies RemoteHandlers;
}

/** What runs here: kinds, versions, names. */
function hypervisor(engine: Engine) {
  return {
    connectGetType: () => ({ type: 'QEMU' }),
    connectGetVersion: async () => ({ hvVer: await engine.emulatorVersion() }),
    connectGetLibVersion: () => ({ libVer: LIBRARY_VERSION }),
    connectGetHostname: () => ({ hostname: engine.hostName }),
    connectGetMaxVcpus: ({ type }) => {
      if (type === null || type === '' || type.toLowerCase() === 'qemu' || type.toLowerCase() === 'kvm')
        return { maxVcpus: MAX_VCPUS_TCG };
      throw new LibvirtError(errorNumber.invalidArg, `unknown type '${type}'`);
    },
  } satisfies RemoteHandlers;
}

/** What can be had here, as documents. */
function documents(engine: Engine) {
  return {
    connectGetCapabilities: async () => ({ capabilities: await engine.driver.capabilitiesXml() }),
    connectGetDomainCapabilities: async ({ emulatorbin, arch, machine, virttype, flags }, call) => {
      checkFlags(flags, DISABLE_DEPRECATED, call);
      const query = cpuQueryOf({ emulator: emulatorbin, arch, machine, virttype });
      return { capabilities: await offered(() => engine.driver.domainCapabilitiesXml(query)) };
    },
    connectGetSysinfo: async ({ flags }, call) => {
      checkFlags(flags, 0, call);
      const { smbios } = await engine.host.facts();
      if (smbios === undefined)
        throw new LibvirtError(errorNumber.configUnsupported, 'Host SMBIOS information is not available');
      return { sysinfo: sysinfoXml(smbios) };
    },
  } satisfies RemoteHandlers;
}

/** The URI that a client's name comes to; none means the daemon's own. @throws LibvirtError */
export function openedUri(name: string | null, mode: DaemonMode): string {
  if (name === null || name === '') return `qemu:///${mode}`;
  const [, scheme = '', host = '', path = ''] = /^([a-z]+)(?:\+\w+)?:\/\/([^/?]*)([^?]*)/.exec(name) ?? [];
  if (!schemes.includes(scheme) || host !== '')
    throw new LibvirtError(errorNumber.noConnect, name, errorDomain.rpc);
  // Root's daemon serves both names, as libvirt's does; a user's has nothing for the host.
  if (path === '/session' || (path === '/system' && mode === 'system')) return name;
  throw new LibvirtError(
    errorNumber.internalError,
    `unexpected ${scheme === 'qemu' ? 'QEMU' : scheme} URI path '${path}', try ${scheme}:///${mode}`,
  );
}

/** libvirt's sysinfo document (sysinfo.rng). */
function sysinfoXml(smbios: Smbios): string {
  const blocks = (['bios', 'system', 'baseBoard', 'chassis'] as const).filter(
    (name) => Object.keys(smbios[name]).length > 0,
  );
  const children = blocks.map((name) =>
    xmlElement(
      name,
      [],
      Object.entries(smbios[name]).map(([entry, value]) => xmlElement('entry', [['name', entry]], [value])),
    ),
  );
  return formatXml(xmlElement('sysinfo', [['type', 'smbios']], children));
}
