/** Parts of a definition that are understood, and that nobody here can honour. */
import type { Build } from './context.ts';

const CGROUP = 'is a limit by cgroups, which is not supported yet';
const PINNING = 'pins or schedules threads of the host, which is not supported yet';

/** Reports everything outside <devices> that would otherwise be dropped without a word. */
export function refuseUnsupported(b: Build): void {
  const d = b.definition;
  if (d.os.type.kind !== 'hvm') b.problem('os.type', `'${d.os.type.kind}' is of another hypervisor; use hvm`);
  b.refuse('', { idmap: d.idmap }, 'is for containers');
  b.refuse('', { keywrap: d.keywrap }, 'is only there on s390x');
  b.refuse('', { launchSecurity: d.launchSecurity });
  b.refuse('', { perf: d.perf.filter((event) => event.enabled) });
  b.refuse('qemu', { capabilities: d.qemuCapabilities, deprecation: d.qemuDeprecation });
  for (const [index, label] of d.seclabels.entries())
    if (label.type !== 'none')
      b.problem(`seclabel[${index}]`, `no security driver for '${label.model ?? 'dynamic'}' labels is there`);
  refuseTuning(b);
}

function refuseTuning(b: Build): void {
  const { memtune, blkiotune, cputune, resource, vcpu, numatune } = b.definition;
  b.refuse('', { memtune, blkiotune }, CGROUP);
  b.refuse('', { cputune }, PINNING);
  b.refuse('', { resource: resource?.partition ?? resource?.fibrechannelAppid }, CGROUP);
  b.refuse('vcpu', { cpuset: vcpu.cpuset }, PINNING);
  if (vcpu.placement === 'auto') b.problem('vcpu.placement', `'auto' needs numad, which is not used`);
  if (numatune?.memory?.placement === 'auto')
    b.problem('numatune.memory.placement', `'auto' needs numad, which is not used`);
}
