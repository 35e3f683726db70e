/** Errors as libvirt's clients know them: number, part of the system, and the text that people and scripts read. */
import { constants } from 'node:os';
import { type ErrorCode, isVirtError, reasonOf, VirtError } from '../base/errors.ts';
import type { ErrorBody } from './protocol/message.ts';
import { XdrError } from './xdr/xdr.ts';

/** virErrorNumber (virterror.h), as far as we say it. */
export const errorNumber = {
  internalError: 1,
  noSupport: 3,
  noConnect: 5,
  invalidArg: 8,
  operationFailed: 9,
  xmlError: 27,
  operationDenied: 29,
  confSyntax: 33,
  xmlDetail: 35,
  systemError: 38,
  rpc: 39,
  noDomain: 42,
  noNetwork: 43,
  authFailed: 45,
  noStoragePool: 49,
  noStorageVol: 50,
  noNodeDevice: 53,
  operationInvalid: 55,
  noInterface: 57,
  multipleInterfaces: 59,
  noNwfilter: 62,
  invalidSecret: 65,
  noSecret: 66,
  configUnsupported: 67,
  operationTimeout: 68,
  hookScriptFailed: 70,
  noDomainSnapshot: 72,
  argumentUnsupported: 74,
  storagePoolBuilt: 76,
  snapshotRevertRisky: 77,
  operationAborted: 78,
  authCancelled: 79,
  noDomainMetadata: 80,
  blockCopyActive: 83,
  operationUnsupported: 84,
  agentUnresponsive: 86,
  resourceBusy: 87,
  accessDenied: 88,
  storageVolExist: 90,
  cpuIncompatible: 91,
  xmlInvalidSchema: 92,
  authUnavailable: 94,
  deviceMissing: 99,
  noNwfilterBinding: 101,
  noDomainCheckpoint: 103,
  noDomainBackup: 104,
  noNetworkPort: 107,
  noHostname: 108,
  checkpointInconsistent: 109,
} as const;

type ErrorNumber = (typeof errorNumber)[keyof typeof errorNumber];

/** virErrorDomain (virterror.h): which part speaks. */
export const errorDomain = {
  none: 0,
  domain: 6,
  rpc: 7,
  config: 9,
  qemu: 10,
  storage: 18,
  network: 19,
  domainConfig: 20,
  nodeDevice: 22,
  cpu: 31,
  interface: 26,
  secret: 30,
  nwfilter: 33,
  streams: 38,
} as const;

type ErrorDomain = (typeof errorDomain)[keyof typeof errorDomain];

/** What stands before the detail of an error of that number; programs look for these words. '' where nothing does. */
const leads: Readonly<Record<ErrorNumber, string>> = {
  1: 'internal error',
  3: 'this function is not supported by the connection driver',
  5: 'no connection driver available for',
  8: 'invalid argument',
  9: 'operation failed',
  27: 'XML error',
  29: 'operation forbidden',
  33: 'configuration file syntax error',
  35: '',
  38: '',
  39: '',
  42: 'Domain not found',
  43: 'Network not found',
  45: 'authentication failed',
  49: 'Storage pool not found',
  50: 'Storage volume not found',
  53: 'Node device not found',
  55: 'Requested operation is not valid',
  57: 'Interface not found',
  59: 'multiple matching interfaces found',
  62: 'Network filter not found',
  65: 'Invalid secret',
  66: 'Secret not found',
  67: 'unsupported configuration',
  68: 'Timed out during operation',
  70: 'Hook script execution failed',
  72: 'Domain snapshot not found',
  74: 'argument unsupported',
  76: 'storage pool already built',
  77: 'revert requires force',
  78: 'operation aborted',
  79: 'authentication cancelled',
  80: 'metadata not found',
  83: 'block copy still active',
  84: 'Operation not supported',
  86: 'Guest agent is not responding',
  87: 'resource busy',
  88: 'access denied',
  90: 'storage volume',
  94: 'authentication unavailable',
  91: 'the CPU is incompatible with host CPU',
  92: 'XML document failed to validate against schema',
  99: 'device not found',
  101: 'Network filter binding not found',
  103: 'Domain checkpoint not found',
  104: 'Domain backup job id not found',
  107: 'network port not found',
  108: 'no hostname found',
  109: 'checkpoint inconsistent',
};

/** An error of this front door: told with a libvirt number of its own rather than one of the engine's codes. */
export class LibvirtError extends Error {
  readonly number: ErrorNumber;
  readonly domain: ErrorDomain;
  readonly detail: string;

  /** True for texts that stand alone, without the number's leading words. */
  readonly isBare: boolean;

  constructor(
    number: ErrorNumber,
    detail: string,
    domain: ErrorDomain = errorDomain.qemu,
    { isBare = false }: { readonly isBare?: boolean } = {},
  ) {
    super(detail);
    this.name = 'LibvirtError';
    this.number = number;
    this.domain = domain;
    this.detail = detail;
    this.isBare = isBare;
  }
}

/** The lead of an error number with its detail, as a client shows it. */
function fullText(number: number, detail: string): { readonly form: string; readonly text: string } {
  const lead = (leads as Readonly<Record<number, string>>)[number];
  if (lead === undefined || lead === '') return { form: '%s', text: detail };
  // Two forms of libvirt have no colon.
  const form =
    number === errorNumber.storageVolExist
      ? `${lead} %s exists already`
      : number === errorNumber.noConnect
        ? `${lead} %s`
        : `${lead}: %s`;
  return { form, text: form.replace('%s', () => detail) };
}

/** Which part of libvirt speaks of such things, by the first word of our code. */
const partOf: Readonly<Record<string, ErrorDomain>> = {
  request: errorDomain.rpc,
  access: errorDomain.rpc,
  xml: errorDomain.domainConfig,
  definition: errorDomain.domainConfig,
  network: errorDomain.network,
  pool: errorDomain.storage,
  volume: errorDomain.storage,
  forward: errorDomain.network,
  link: errorDomain.network,
  config: errorDomain.config,
  secret: errorDomain.secret,
  nwfilter: errorDomain.nwfilter,
  'node-device': errorDomain.nodeDevice,
  'host-interface': errorDomain.interface,
  stream: errorDomain.streams,
};

function partOfCode(code: ErrorCode): ErrorDomain {
  return partOf[code.slice(0, code.indexOf('.'))] ?? errorDomain.qemu;
}

const ERROR_LEVEL = 2;

/** The body of an error reply for anything that was thrown. A bug shows as an internal error, without its text. */
export function errorBodyOf(error: unknown): ErrorBody {
  if (error instanceof LibvirtError)
    return error.isBare
      ? withTexts(error.number, error.domain, { form: '%s', text: error.detail, detail: error.detail })
      : build(error.number, error.domain, error.detail);
  if (error instanceof XdrError)
    return build(errorNumber.rpc, errorDomain.rpc, `Unable to decode message payload: ${error.message}`);
  if (isVirtError(error)) return fromVirtError(error);
  return build(errorNumber.internalError, errorDomain.none, 'the daemon has a bug; its log has more');
}

function fromVirtError(error: VirtError): ErrorBody {
  const body = build(numberOf(error), partOfCode(error.code), detailOf(error));
  const errno = error.details?.['errno'];
  if (error.row.libvirt !== errorNumber.systemError || typeof errno !== 'string') return body;
  const known: Readonly<Record<string, number>> = constants.errno;
  return { ...body, int1: known[errno] ?? -1 };
}

/**
 * What cannot change while the guest runs is no fault of the definition. A disk with a job is refused by a number that says whether the job keeps a second image of it; a disk that is not there,
 * and a device that is to be updated, is a wrong argument, where other devices that are not there are missing. What a guest's agent
 * refuses is libvirt's internal error.
 */
function numberOf({ code, row, details }: VirtError): number {
  if (code === 'domain.no-device' && (details?.['disk'] ?? details?.['toUpdate']) !== undefined)
    return errorNumber.invalidArg;
  if (code === 'definition.unsupported' && details?.['whileRunning'] === true)
    return errorNumber.operationUnsupported;
  if (code === 'domain.device-exists') return numberOfTaken(details);
  if (details?.['agentCommand'] !== undefined) return errorNumber.internalError;
  const job = details?.['blockJob'];
  if (job === undefined) return row.libvirt;
  const isMirroring = job === 'copy' || job === 'active-commit';
  return isMirroring ? errorNumber.blockCopyActive : errorNumber.operationUnsupported;
}

/**
 * A running guest's disk that is given twice is a fault of the document, its controller a failed operation; everything
 * else that is there already, an operation that is not valid now (seen with libvirtd 9.0).
 */
function numberOfTaken(details: VirtError['details']): ErrorNumber {
  if (details?.['where'] !== 'live') return errorNumber.operationInvalid;
  if (details['element'] === 'disk' && details['isPlace'] !== true) return errorNumber.xmlError;
  return details['element'] === 'controller' ? errorNumber.operationFailed : errorNumber.operationInvalid;
}

/** What clients look for, word for word, whoever met the condition. */
const fixedTexts: Readonly<Partial<Record<ErrorCode, string>>> = {
  'agent.missing': 'QEMU guest agent is not configured',
};

/** The reason; of a document with several problems all of them, each with its path. */
function detailOf({ code, reason, details }: VirtError): string {
  const fixed = fixedTexts[code];
  if (fixed !== undefined) return fixed;
  const { agentCommand, desc } = details ?? {};
  if (typeof agentCommand === 'string' && typeof desc === 'string')
    return `unable to execute QEMU agent command '${agentCommand}': ${desc}`;
  const problems = details?.['problems'];
  if (!Array.isArray(problems) || problems.length < 2) return reason;
  const more = problems
    .slice(1, 6)
    .map((problem: { path: string; message: string }) => `${problem.path}: ${problem.message}`);
  return [reason, ...more].join('; ');
}

function build(number: number, domain: number, detail: string): ErrorBody {
  return withTexts(number, domain, { ...fullText(number, detail), detail });
}

interface Texts {
  /** `%s` stands for the detail. */
  readonly form: string;
  readonly text: string;
  readonly detail: string;
}

function withTexts(number: number, domain: number, { form, text, detail }: Texts): ErrorBody {
  return {
    code: number,
    domain,
    message: text,
    level: ERROR_LEVEL,
    dom: null,
    str1: form,
    str2: detail,
    str3: null,
    int1: -1,
    int2: -1,
    net: null,
  };
}

/** The first of our codes that stands for a libvirt number, for errors that another daemon sent us. */
const codeOfNumber: ReadonlyMap<number, ErrorCode> = new Map([
  [errorNumber.noSupport, 'request.unsupported'],
  [errorNumber.invalidArg, 'request.invalid'],
  [errorNumber.operationDenied, 'access.read-only'],
  [errorNumber.noDomain, 'domain.not-found'],
  [errorNumber.noNetwork, 'network.not-found'],
  [errorNumber.operationInvalid, 'domain.state'],
  [errorNumber.configUnsupported, 'definition.unsupported'],
  [errorNumber.xmlError, 'xml.invalid'],
  [errorNumber.operationTimeout, 'operation.timeout'],
  [errorNumber.operationAborted, 'operation.aborted'],
  [errorNumber.accessDenied, 'access.denied'],
]);

/** The error that another daemon's error reply stands for; what has no code of ours is operation.failed. */
export function virtErrorOf(body: ErrorBody, wanted: string): VirtError {
  return new VirtError(codeOfNumber.get(body.code) ?? 'operation.failed', {
    wanted,
    reason: body.message ?? reasonOf(new Error(`libvirt error ${body.code}`)),
    details: { libvirtCode: body.code, libvirtDomain: body.domain },
  });
}
