/** Why /dev/kvm failed, told apart as far as the host lets us, each with its repair. Looks, never changes. */
import { explainAccess } from './access.ts';
import { firmwareSetting, firmwareVerdict } from './firmware.ts';
import type { HostFiles } from './host-files.ts';
import { KVM_API_VERSION, type KvmAnswers, type KvmCallError, requiredExtensions } from './ioctl.ts';
import { kernelHasModule, rivalHypervisor } from './module.ts';
import type { KvmContext, KvmProblem } from './report.ts';

/** What is wrong with answers that came, if anything. */
export function diagnoseAnswers(answers: KvmAnswers): KvmProblem | undefined {
  if (answers.apiVersion !== KVM_API_VERSION) {
    return {
      code: 'too-old',
      reason: `the kernel speaks version ${answers.apiVersion} of KVM's interface, and ${KVM_API_VERSION} is needed`,
      repair: 'boot a newer kernel (2.6.22 or later)',
    };
  }
  const missing = requiredExtensions.filter((name) => answers.extensions[name] === 0);
  if (missing.length === 0) return undefined;
  return {
    code: 'too-old',
    reason: `the kernel's KVM lacks what QEMU needs: ${missing.join(', ')}`,
    repair: 'boot a newer kernel',
  };
}

/**
 * What keeps guests of another user than root from a KVM that works for us: a node without rights for everybody and
 * without a group that could be given to QEMU.
 */
export function diagnoseRootOnly(files: HostFiles, device: string): KvmProblem | undefined {
  const node = files.stat(device);
  if (node === undefined || (node.mode & 0o006) === 0o006) return undefined;
  if ((node.mode & 0o060) === 0o060 && node.gid !== 0) return undefined;
  return {
    code: 'no-permission',
    reason: `${device} is open to root only, and guests do not run as root`,
    repair: `as root: groupadd -rf kvm; chgrp kvm ${device} && chmod 0660 ${device}`,
    group: 'kvm',
  };
}

/** Why a call failed. */
export function diagnoseFailure(error: KvmCallError, context: KvmContext): KvmProblem {
  return error.call === 'open' ? diagnoseOpen(error, context) : diagnoseIoctl(error, context);
}

function diagnoseOpen(error: KvmCallError, context: KvmContext): KvmProblem {
  const node = context.files.stat(context.device);
  if (error.errno === 'ENOENT' || error.errno === 'ENOTDIR') return diagnoseAbsence(context);
  if (node !== undefined && !node.isCharacterDevice) return notADevice(context);
  if (error.errno === 'EACCES' || error.errno === 'EPERM') return diagnosePermission(error, context);
  // A node whose driver is not there answers ENXIO or ENODEV.
  if (error.errno === 'ENXIO' || error.errno === 'ENODEV') return diagnoseModule(context);
  if (error.errno === 'EBUSY') return busy(context);
  return ioctlFailed(error);
}

function diagnoseIoctl(error: KvmCallError, context: KvmContext): KvmProblem {
  // Not KVM's node: another driver, or a plain file, does not know the request.
  if (error.call === 'KVM_GET_API_VERSION' && (error.errno === 'ENOTTY' || error.errno === 'EINVAL'))
    return notADevice(context);
  // arch/x86/kvm/vmx: enabling fails with EBUSY when VMX is already on for somebody else.
  if (error.errno === 'EBUSY') return busy(context);
  return ioctlFailed(error);
}

function ioctlFailed(error: KvmCallError): KvmProblem {
  const memory = error.errno === 'ENOMEM' || error.errno === 'EMFILE' || error.errno === 'ENFILE';
  return {
    code: 'ioctl-failed',
    reason: `${error.call} failed with ${error.errno}`,
    repair: memory
      ? 'free memory or raise the limit on open files, then ask again'
      : "look at the kernel's log: dmesg | grep -i kvm",
  };
}

function notADevice({ device }: KvmContext): KvmProblem {
  return {
    code: 'not-a-device',
    reason: `${device} is not KVM's device node`,
    // KVM_MINOR of linux/miscdevice.h is 232, the major of misc devices is 10 (linux/major.h).
    repair: `replace it: rm ${device} && mknod ${device} c 10 232 && chgrp kvm ${device} && chmod 0660 ${device}`,
  };
}

function busy({ files }: KvmContext): KvmProblem {
  const rival = rivalHypervisor(files);
  return {
    code: 'busy',
    reason: rival
      ? `${rival.product} holds the processor's virtualisation (module ${rival.module} is loaded)`
      : "another hypervisor holds the processor's virtualisation",
    repair: rival
      ? `stop the guests of ${rival.product}, then: modprobe -r ${rival.module}`
      : 'stop the other hypervisor (VirtualBox, VMware, a test of another kernel module) and ask again',
  };
}

function diagnosePermission(error: KvmCallError, context: KvmContext): KvmProblem {
  const { device, files, identity } = context;
  const node = files.stat(device);
  if (identity.uid === 0 || node === undefined) {
    return {
      code: 'no-permission',
      reason: `${device} cannot be opened even by this user (${error.errno}): a container's device rules or a security module forbid it`,
      repair: `allow the device: DeviceAllow=${device} rw in a systemd unit, --device ${device} for a container`,
    };
  }
  const access = explainAccess(files, node, identity);
  const reason = `user '${access.user}' may not open ${device}`;
  if (access.group === undefined) {
    return {
      code: 'no-permission',
      reason: `${reason}, and neither may any group`,
      repair: `as root: chgrp kvm ${device} && chmod 0660 ${device} (Debian's udev rules do this), then usermod -aG kvm ${access.user}`,
      group: 'kvm',
    };
  }
  return { code: 'no-permission', group: access.group, ...joinGroup(reason, access) };
}

/** What remains to be done to be in the node's group. */
function joinGroup(
  reason: string,
  access: ReturnType<typeof explainAccess>,
): Pick<KvmProblem, 'reason' | 'repair'> {
  const { group, user } = access;
  if (access.processIsMember) {
    return {
      reason: `${reason} although the process is in group '${group}': a security module or a device rule forbids it`,
      repair: 'look for a denial: dmesg | grep -i denied',
    };
  }
  if (access.userIsMember) {
    return {
      reason: `${reason}: it was added to group '${group}' after this login`,
      repair: `log out and in again (every session and the user's systemd: loginctl terminate-user ${user}), or run it by: newgrp ${group}`,
    };
  }
  return {
    reason: `${reason}: group '${group}' may`,
    repair: `as root: usermod -aG ${group} ${user}; then log out and in again`,
  };
}

/** No node at all: the driver may be there without the node, or not be there. */
function diagnoseAbsence(context: KvmContext): KvmProblem {
  // /proc/misc lists the driver once it is registered: `232 kvm`.
  const registered = /^\s*\d+ kvm$/m.test(context.files.read('/proc/misc') ?? '');
  if (!registered) return diagnoseModule(context);
  const container = inContainer(context);
  return {
    code: 'no-node',
    reason: `the kernel has KVM, but there is no ${context.device}${container ? ' in this container' : ''}`,
    repair: container
      ? `start the container with --device ${context.device}`
      : `make it: mknod ${context.device} c 10 232 && chgrp kvm ${context.device} && chmod 0660 ${context.device}`,
  };
}

/** /run/systemd/container is systemd's mark, the others are podman's and docker's. */
function inContainer({ files }: KvmContext): boolean {
  return ['/run/systemd/container', '/run/.containerenv', '/.dockerenv'].some((path) => files.exists(path));
}

/** No driver behind the node: flag, firmware or module. */
function diagnoseModule(context: KvmContext): KvmProblem {
  const { arch, cpu } = context;
  if (arch !== 'x86_64' && arch !== 'i686') return noDriver(context);
  if (firmwareVerdict(context.files, cpu.vendor) === 'off') return biosOff(context);
  if (cpu.flag === undefined) return noFlag(context);
  return notLoaded(context);
}

function biosOff({ cpu }: KvmContext): KvmProblem {
  return {
    code: 'bios-off',
    reason: "the firmware (BIOS) has the processor's virtualisation switched off",
    repair: `switch on "${firmwareSetting(cpu.flag, cpu.vendor)}" in the firmware's set-up, then power off and on`,
  };
}

function noFlag({ cpu }: KvmContext): KvmProblem {
  if (cpu.underHypervisor) {
    const module = cpu.vendor === 'AuthenticAMD' ? 'kvm_amd' : 'kvm_intel';
    return {
      code: 'no-cpu-flag',
      reason: 'this machine is a virtual machine, and its hypervisor does not offer nested virtualisation',
      repair: `on the outer host: load ${module} with nested=1 and give this machine the CPU mode host-passthrough; at a cloud provider choose a machine type with nested virtualisation. Without it guests run under emulation (type='qemu')`,
    };
  }
  return {
    code: 'no-cpu-flag',
    reason: 'the processor shows neither vmx nor svm: it cannot virtualise, or the firmware hides it',
    repair: `look for "${firmwareSetting(undefined, cpu.vendor)}" in the firmware's set-up; otherwise guests run under emulation (type='qemu')`,
  };
}

function notLoaded(context: KvmContext): KvmProblem {
  const { name, loaded } = context.module;
  if (loaded) {
    return {
      code: 'no-node',
      reason: `module ${name} is loaded, but the kernel offers no ${context.device}`,
      repair: `load it anew: modprobe -r ${name} kvm; modprobe ${name}; then look at dmesg | grep -i kvm`,
    };
  }
  if (kernelHasModule(context.files, name) === false) {
    return {
      code: 'module-not-loaded',
      reason: `the running kernel has no module ${name}`,
      repair:
        'boot a kernel with KVM (Debian: linux-image-amd64); after an upgrade of the kernel: boot it, as its modules replaced the old ones',
    };
  }
  return {
    code: 'module-not-loaded',
    reason: `the kernel module ${name} is not loaded`,
    repair: `as root: modprobe ${name}. If that says "Operation not supported", switch on "${firmwareSetting(context.cpu.flag, context.cpu.vendor)}" in the firmware's set-up`,
  };
}

/** Architectures whose processors show no flag: only the kernel knows. */
function noDriver({ arch, device }: KvmContext): KvmProblem {
  const repair =
    arch === 'aarch64'
      ? 'boot a kernel with KVM, and at exception level EL2 (dmesg | grep -i "kvm\\|EL2"); in a virtual machine nested virtualisation is needed'
      : 'boot a kernel with KVM, or load its module: modprobe kvm';
  return { code: 'no-node', reason: `the kernel offers no ${device}`, repair };
}
