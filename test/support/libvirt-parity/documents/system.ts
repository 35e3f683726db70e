/** What is not a device: memory, CPUs, clock, features, tuning. */
import { disk, numa, type Parts } from './parts.ts';

export const systemParts: Readonly<Record<string, Parts>> = {
  numa: { vcpu: '<vcpu>4</vcpu>', memory: `<memory unit='KiB'>131072</memory>`, top: numa },
  'numa-odd': { vcpu: '<vcpu>4</vcpu>', memory: `<memory unit='KiB'>1048576</memory>`, top: numa },
  'numa-distances': {
    vcpu: `<vcpu current='2'>8</vcpu>`,
    memory: `<memory unit='KiB'>131072</memory>`,
    top: `<cpu><topology sockets='2' cores='2' threads='2'/><numa><cell cpus='0-3' memory='64' unit='MiB'><distances><sibling id='0' value='10'/><sibling id='1' value='21'/></distances></cell><cell cpus='4-7' memory='64' unit='MiB'/></numa></cpu>`,
  },
  'memory-dimm': {
    machine: 'q35',
    vcpu: '<vcpu>4</vcpu>',
    memory: `<maxMemory slots='4' unit='GiB'>2</maxMemory><memory unit='KiB'>131072</memory>`,
    top: numa,
    devices: `<memory model='dimm'><target><size unit='MiB'>128</size><node>0</node></target></memory><memory model='dimm'><target><size unit='MiB'>128</size><node>1</node></target></memory>`,
  },
  'memory-nvdimm': {
    memory: `<maxMemory slots='4' unit='GiB'>2</maxMemory><memory unit='KiB'>131072</memory>`,
    vcpu: '<vcpu>4</vcpu>',
    top: numa,
    devices: `<memory model='nvdimm'><source><path>/tmp/nvdimm</path></source><target><size unit='MiB'>128</size><node>0</node><label><size unit='KiB'>128</size></label></target></memory>`,
  },
  'memory-virtio-mem': {
    machine: 'q35',
    memory: `<maxMemory slots='1' unit='GiB'>2</maxMemory><memory unit='KiB'>131072</memory>`,
    vcpu: '<vcpu>4</vcpu>',
    top: numa,
    devices: `<memory model='virtio-mem'><target><size unit='MiB'>128</size><node>0</node><block unit='MiB'>2</block><requested unit='MiB'>64</requested></target></memory>`,
  },
  'memory-hugepages': { top: `<memoryBacking><hugepages/><nosharepages/><locked/></memoryBacking>` },
  'memory-memfd': {
    top: `<memoryBacking><source type='memfd'/><access mode='shared'/><allocation mode='immediate'/></memoryBacking>`,
  },
  'memory-current': { memory: `<memory unit='MiB'>128</memory><currentMemory unit='MiB'>64</currentMemory>` },
  'memory-unrounded': {
    memory: `<memory unit='KiB'>100001</memory><currentMemory unit='KiB'>70001</currentMemory>`,
  },
  'cpu-custom': {
    top: `<cpu match='exact'><model fallback='allow'>Nehalem</model><feature policy='disable' name='sse4.2'/><feature name='vmx'/></cpu>`,
    vcpu: '<vcpu>2</vcpu>',
  },
  'cpu-qemu64': {
    top: `<cpu mode='custom' match='exact'><model>qemu64</model><topology sockets='1' cores='2' threads='1'/></cpu>`,
    vcpu: '<vcpu>2</vcpu>',
  },
  'cpu-maximum': { top: `<cpu mode='maximum'/>` },
  'cpu-topology': {
    top: `<cpu><topology sockets='1' dies='2' cores='2' threads='1'/></cpu>`,
    vcpu: `<vcpu current='2'>4</vcpu>`,
  },
  'vcpus-enabled': {
    vcpu: `<vcpu placement='static' current='2'>4</vcpu><vcpus><vcpu id='0' enabled='yes' hotpluggable='no'/><vcpu id='1' enabled='no' hotpluggable='yes'/><vcpu id='2' enabled='yes' hotpluggable='yes'/><vcpu id='3' enabled='no' hotpluggable='yes'/></vcpus>`,
  },
  'clock-timers': {
    bottom: `<clock offset='utc'><timer name='rtc' tickpolicy='catchup'/><timer name='pit' tickpolicy='delay'/><timer name='hpet' present='no'/></clock><on_poweroff>destroy</on_poweroff><on_reboot>restart</on_reboot><on_crash>restart</on_crash><pm><suspend-to-mem enabled='no'/><suspend-to-disk enabled='no'/></pm>`,
  },
  'clock-localtime': { bottom: `<clock offset='localtime'/>` },
  'clock-variable': { bottom: `<clock offset='variable' adjustment='3600' basis='localtime'/>` },
  'clock-timezone': { bottom: `<clock offset='timezone' timezone='Europe/Berlin'/>` },
  'features-many': {
    features: `<features><acpi/><apic/><pae/><hyperv><relaxed state='on'/><vapic state='on'/><spinlocks state='on' retries='8191'/></hyperv><vmport state='off'/><pmu state='off'/><vmcoreinfo state='on'/><smm state='off'/></features>`,
    machine: 'q35',
  },
  'features-kvm': { features: `<features><acpi/><apic eoi='on'/></features>` },
  'features-none': { features: '' },
  events: {
    bottom: `<on_poweroff>destroy</on_poweroff><on_reboot>destroy</on_reboot><on_crash>preserve</on_crash>`,
  },
  iothreads: {
    top: `<iothreads>4</iothreads><iothreadids><iothread id='2'/><iothread id='4'/></iothreadids>`,
    devices: disk('virtio', 'vda').replace(`type='raw'`, `type='raw' iothread='4'`),
  },
  metadata: {
    top: `<title>A title</title><description>Lines
of &lt;text&gt;</description><metadata><app:one xmlns:app='http://example.org/app/1.0' a='1'><app:two>x</app:two></app:one></metadata><genid>43dc0cf8-809b-4adb-9bea-a9abb5f3d90e</genid>`,
  },
  tuning: {
    vcpu: `<vcpu placement='static' cpuset='0-1'>2</vcpu>`,
    top: `<cputune><shares>2048</shares><vcpupin vcpu='0' cpuset='0'/><emulatorpin cpuset='0-1'/></cputune><memtune><hard_limit unit='MiB'>512</hard_limit></memtune><numatune><memory mode='strict' nodeset='0'/></numatune><resource><partition>/machine</partition></resource>`,
  },
  commandline: {
    namespace: ` xmlns:qemu='http://libvirt.org/schemas/domain/qemu/1.0'`,
    bottom: `<qemu:commandline><qemu:arg value='-name'/><qemu:arg value='other'/><qemu:env name='X' value='1'/></qemu:commandline>`,
  },
};
