/** Errors as libvirt's clients see them: numbers, and texts that scripts look for. */
import { describe, expect, it } from 'vitest';
import { VirtError } from '../../../src/base/errors.ts';
import { fixedWhileRunning } from '../../../src/drivers/qemu/hotplug/fixed.ts';
import { errorBodyOf, errorNumber, LibvirtError, virtErrorOf } from '../../../src/libvirt/errors.ts';
import { errorBody } from '../../../src/libvirt/protocol/message.ts';
import { encodeAll, XdrError } from '../../../src/libvirt/xdr/xdr.ts';

describe('the text of', () => {
  it.each([
    [
      new VirtError('domain.not-found', { reason: "no domain with matching name 'x'" }),
      42,
      "Domain not found: no domain with matching name 'x'",
    ],
    [
      new VirtError('domain.inactive', { wanted: 'stop', reason: 'domain is not running' }),
      55,
      'Requested operation is not valid: domain is not running',
    ],
    [
      new VirtError('file.not-found', { reason: '/x: no such file or directory' }),
      38,
      '/x: no such file or directory',
    ],
    [
      new LibvirtError(errorNumber.noSupport, 'virDomainFoo'),
      3,
      'this function is not supported by the connection driver: virDomainFoo',
    ],
    [
      new VirtError('operation.failed', {
        reason: 'the agent says: no such file',
        details: { agentCommand: 'guest-file-open', class: 'GenericError', desc: 'no such file' },
      }),
      1,
      "internal error: unable to execute QEMU agent command 'guest-file-open': no such file",
    ],
    [new LibvirtError(errorNumber.noConnect, 'lxc:///'), 5, 'no connection driver available for lxc:///'],
    [new LibvirtError(errorNumber.rpc, 'unknown procedure: 999'), 39, 'unknown procedure: 999'],
    [new LibvirtError(errorNumber.storageVolExist, 'a'), 90, 'storage volume a exists already'],
    [new XdrError('short', 'dom: too few'), 39, 'Unable to decode message payload: dom: too few'],
    [new TypeError('secret detail'), 1, 'internal error: the daemon has a bug; its log has more'],
  ])('%s', (error, code, message) => {
    const body = errorBodyOf(error);
    expect([body.code, body.message, body.level]).toEqual([code, message, 2]);
    // The form and the detail make the message.
    expect((body.str1 ?? '').replace('%s', () => body.str2 ?? '')).toBe(message);
    expect(encodeAll(errorBody, body).length).toBeGreaterThan(40);
  });
});

it('tells the errno of a system error', () => {
  const error = new VirtError('file.denied', { reason: 'no', details: { errno: 'EACCES' } });
  expect(errorBodyOf(error).int1).toBe(13);
});

it('tells what cannot change while the guest runs from what a definition cannot have', () => {
  const problem = { path: 'interface.model', message: 'cannot be changed while the guest runs' };
  const { code, message } = errorBodyOf(fixedWhileRunning([problem], { wanted: 'update it' }));
  expect({ code, message }).toEqual({
    code: 84,
    message: 'Operation not supported: interface.model: cannot be changed while the guest runs',
  });
  expect(errorBodyOf(new VirtError('definition.unsupported', { reason: 'no such machine' })).code).toBe(67);
});

it('tells every problem of a document', () => {
  const problems = [
    { path: 'memory', message: 'is missing' },
    { path: 'os', message: 'is missing' },
  ];
  const error = new VirtError('xml.invalid', { reason: 'memory: is missing', details: { problems } });
  expect(errorBodyOf(error).message).toBe('XML error: memory: is missing; os: is missing');
});

it("takes another daemon's error for one of ours", () => {
  const body = errorBodyOf(new LibvirtError(errorNumber.noDomain, 'gone'));
  expect(virtErrorOf(body, 'migrate')).toMatchObject({
    code: 'domain.not-found',
    reason: 'Domain not found: gone',
  });
  expect(virtErrorOf({ ...body, code: 9999 }, 'migrate').code).toBe('operation.failed');
});

it('call a disk that is not there a wrong argument, as libvirt does, and another device missing', () => {
  const reason = 'invalid path: vdz';
  const disk = new VirtError('domain.no-device', { reason, details: { disk: 'vdz' } });
  expect(errorBodyOf(disk)).toMatchObject({ code: 8, message: `invalid argument: ${reason}` });
  expect(errorBodyOf(new VirtError('domain.no-device', { reason: 'no' }))).toMatchObject({ code: 99 });
});
