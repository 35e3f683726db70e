/** What a handler gets besides its arguments, and the shape of the tables of handlers. */
import type { Duplex } from 'node:stream';
import type { Logger } from '../../../base/log.ts';
import type { CpuModelSource, HypervisorDriver } from '../../../drivers/driver.ts';
import type {
  QemuArgs,
  QemuCallName,
  QemuRet,
  RemoteArgs,
  RemoteCallName,
  RemoteRet,
} from '../../../libvirt/protocol/programs.ts';
import type { HostInterface } from '../../../net/links/host-interfaces.ts';
import type { DaemonMode } from '../../paths.ts';
import type { FlightRecorder } from '../../recorder/flight-recorder.ts';
import type { DomainService } from '../../services/domain-service.ts';
import type { HostService } from '../../services/host-service.ts';
import type { NetworkService } from '../../services/network-service.ts';
import type { NodeDeviceService } from '../../services/node-device-service.ts';
import type { NwFilterService } from '../../services/nwfilter-service.ts';
import type { PassedFiles } from '../../services/passed-files.ts';
import type { SecretService } from '../../services/secret-service.ts';
import type { StorageService } from '../../services/storage-service.ts';
import type { EventCallbacks } from './events/callbacks.ts';
import type { MonitorCallbacks } from './events/monitor-callbacks.ts';
import type { SaslExchange } from './sasl/exchange.ts';

/** The engine as this front door uses it. */
export interface Engine {
  readonly mode: DaemonMode;
  readonly domains: DomainService;
  /** Undefined in a session. */
  readonly networks: NetworkService | undefined;
  /** Undefined in a session. */
  readonly nwfilters: NwFilterService | undefined;
  readonly storage: StorageService;
  readonly nodeDevices: NodeDeviceService;
  readonly secrets: SecretService;
  /** Descriptors that clients leave for disks. */
  readonly passedFiles: PassedFiles;
  /** The host's, as they are now. @throws VirtError link.failed */
  interfaces(): readonly HostInterface[];
  readonly host: HostService;
  readonly driver: Pick<
    HypervisorDriver,
    'capabilitiesXml' | 'domainCapabilitiesXml' | 'complete' | 'commandLine'
  >;
  readonly cpus: CpuModelSource;
  /** QEMU's version as libvirt counts: 7.2.4 is 7002004. @throws VirtError qemu.missing */
  emulatorVersion(): Promise<number>;
  readonly hostName: string;
  /** Where calls that change domains are noted; nowhere when left out. */
  readonly recorder?: Pick<FlightRecorder, 'note'>;
  readonly log: Logger;
}

/** So many bytes of zeros of a sparse stream, in the place of the bytes. */
export interface Hole {
  readonly holeBytes: number;
}

/** How a stream behaves that a call has opened. */
export interface StreamPlan {
  /** Of bytes; with `takesHoles`, or when it gives holes, of objects: buffers and `Hole`s. */
  readonly duplex: Duplex;
  /** What the client's "finish" does: `destroy` lets go of it, `end` waits until all that was sent is written. */
  readonly onFinish: 'destroy' | 'end';
  /** False for a stream that the client only reads. */
  readonly takesData: boolean;
  /** How much the client announced, holes counted: when that has come it is the end, whether the client finishes or not. */
  readonly expectedBytes?: number | undefined;
  /** It calls back for a buffer when nobody will look at that again. */
  readonly returnsBuffers?: boolean;
  /** True for a stream that the client may write holes into. */
  readonly takesHoles?: boolean;
  /** Called for each buffer of the duplex that has left, or never will. */
  readonly onSent?: (bytes: Buffer) => void;
}

/** A client that came over the network. */
export interface RemoteClient {
  readonly address: string;
  /** What its certificate calls it; undefined without one. */
  readonly certificate?: string;
  readonly isEncrypted: boolean;
}

/** The caller's connection, as handlers see it. */
export interface ClientConnection {
  readonly id: string;
  readonly isReadOnly: boolean;
  /** True for the read-only socket, whatever the client asks for. */
  readonly isReadOnlySocket: boolean;
  /** True until a client has shown who it is, where that is demanded; such a client may do nothing else. */
  readonly mustAuthenticate: boolean;
  /** The URI that was opened; undefined before CONNECT_OPEN. */
  readonly uri: string | undefined;
  readonly callbacks: EventCallbacks;
  readonly monitorCallbacks: MonitorCallbacks;
  /** The client as another host's; undefined for one of this host, on a unix socket. */
  readonly remote: RemoteClient | undefined;
  /** How a client of another host shows who it is; undefined where it need not. */
  readonly sasl: SaslExchange | undefined;
  readonly peer: { readonly uid: number; readonly gid: number; readonly pid: number };
  open(uri: string, readOnly: boolean): void;
  /** Asks the authority about this client, once at a time. @throws LibvirtError */
  authenticate(): Promise<void>;
  /** Closes it after the reply was sent. */
  closeAfterReply(): void;
  startKeepalive(): void;
  expectDescriptors(): void;
  /** Calls back once when it has gone; at once when it has already. */
  onClose(listener: () => void): void;
}

/** One call. */
export interface Call {
  readonly connection: ClientConnection;
  /** The procedure in our words, for texts. */
  readonly name: string;
  /** Descriptors that came with the call; whoever keeps one takes it out, the others are closed after the call. */
  readonly fds: number[];
  /** Descriptors for the client, with the reply; they are closed when they were sent. */
  readonly replyFds: number[];
  /** Joins a stream to this call: it runs from the reply on. @throws LibvirtError when there are too many */
  openStream(plan: StreamPlan): void;
}

export type Handler<A, R> = (args: A, call: Call) => R | Promise<R>;

/** Handlers of the main program, by name; what is missing is answered with "not supported". */
export type RemoteHandlers = {
  readonly [K in RemoteCallName]?: Handler<RemoteArgs<K>, RemoteRet<K>>;
};

/** Handlers of QEMU's own program. */
export type QemuHandlers = { readonly [K in QemuCallName]?: Handler<QemuArgs<K>, QemuRet<K>> };
