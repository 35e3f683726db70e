/** Parts of a definition that are understood, and that nobody here can honour. */

import { perfEventProblem } from '../../../model/domain/perf-events.ts';
import type { CpuTune } from '../../../model/domain/tuning.ts';
import type { Build } from './context.ts';

const PARTITION = 'is not used: each guest with limits has a control group below vireo/';

/** Reports everything outside <devices> that would otherwise be dropped without a word. */
export function refuseUnsupported(b: Build): void {
  const d = b.definition;
  if (d.os.type.kind !== 'hvm') b.problem('os.type', `'${d.os.type.kind}' is of another hypervisor; use hvm`);
  b.refuse('', { idmap: d.idmap }, 'is for containers');
  b.refuse('', { keywrap: d.keywrap }, 'is only there on s390x');
  for (const [index, { name, enabled }] of d.perf.entries()) {
    const problem = enabled ? perfEventProblem(name) : undefined;
    if (problem !== undefined) b.problem(`perf.event[${index}]`, problem);
  }
  b.refuse('qemu', { capabilities: d.qemuCapabilities, deprecation: d.qemuDeprecation });
  for (const [index, label] of d.seclabels.entries())
    if (label.type !== 'none')
      b.problem(`seclabel[${index}]`, `no security driver for '${label.model ?? 'dynamic'}' labels is there`);
  refuseTuning(b);
}

function refuseTuning(b: Build): void {
  const { memtune, cputune, resource, vcpu, numatune } = b.definition;
  b.refuse('memtune', { min_guarantee: memtune?.minGuaranteeKiB }, 'is of other hypervisors');
  if (cputune !== undefined) refuseCpuTuning(b, cputune);
  b.refuse('resource', { partition: resource?.partition }, PARTITION);
  b.refuse('resource', { fibrechannel: resource?.fibrechannelAppid });
  if (vcpu.placement === 'auto') b.problem('vcpu.placement', `'auto' needs numad, which is not used`);
  if (numatune?.memory?.placement === 'auto')
    b.problem('numatune.memory.placement', `'auto' needs numad, which is not used`);
}

/** Pins and schedulers are put in place by the driver (host-tuning/threads.ts), shares and limits by control groups (host-tuning/cgroups.ts). */
function refuseCpuTuning(b: Build, cputune: CpuTune): void {
  const { cachetunes, memorytunes } = cputune;
  b.refuse('cputune', { cachetune: cachetunes, memorytune: memorytunes }, 'needs resctrl, which is not used');
}
