/** Controllers that a machine has by itself, and the details of those that a definition names. */
import { familyOf, isX86, pciRootOf } from '../machine.ts';
import { type DefaultsFacts, type Draft, hasDevice } from './facts.ts';

type Controller = Draft['devices']['controllers'][number];
type Model = NonNullable<Controller['model']>;
type ModelName = NonNullable<Controller['modelName']>;

/** The QEMU device behind each PCI controller's model, where there is one choice that is always right. */
const pciModelNames: Readonly<Partial<Record<Model, ModelName>>> = {
  'pci-bridge': 'pci-bridge',
  'dmi-to-pci-bridge': 'i82801b11-bridge',
  'pcie-to-pci-bridge': 'pcie-pci-bridge',
  'pcie-switch-upstream-port': 'x3130-upstream',
  'pcie-switch-downstream-port': 'xio3130-downstream',
  'pci-expander-bus': 'pxb',
  'pcie-expander-bus': 'pxb-pcie',
};

export function pciModelName(model: Model | undefined, facts: DefaultsFacts): ModelName | undefined {
  if (model === 'pcie-root-port') return hasDevice(facts, 'pcie-root-port') ? 'pcie-root-port' : 'ioh3420';
  return model === undefined ? undefined : pciModelNames[model];
}

type DeviceFacts = Pick<DefaultsFacts, 'hasDevice'>;

/** The USB controller of a machine whose definition names none. */
export function defaultUsbModel(draft: Draft, facts: DeviceFacts): Model | undefined {
  if (familyOf(draft) === 'i440fx' && hasDevice(facts, 'piix3-usb-uhci')) return 'piix3-uhci';
  if (hasDevice(facts, 'qemu-xhci')) return 'qemu-xhci';
  return hasDevice(facts, 'nec-usb-xhci') ? 'nec-xhci' : undefined;
}

/** libvirt's choice: the old LSI chip on PCs, as long as the emulator has it. */
export function defaultScsiModel(draft: Draft, facts: DeviceFacts): Model {
  return isX86(draft.os.type.arch) && hasDevice(facts, 'lsi53c895a') ? 'lsilogic' : 'virtio-scsi';
}

/** Companions sit on their master's ports two by two. */
const startPorts: Readonly<Partial<Record<Model, number>>> = {
  'ich9-uhci1': 0,
  'ich9-uhci2': 2,
  'ich9-uhci3': 4,
};

export function defaultControllers(draft: Draft, facts: DefaultsFacts): void {
  const { controllers } = draft.devices;
  numberControllers(controllers);
  for (const controller of controllers) fillController(controller, draft, facts);
  for (const wanted of implied(draft, facts))
    if (!controllers.some((one) => one.type === wanted.type && one.index === wanted.index))
      controllers.push(wanted);
}

/** Those without an index get the lowest free one of their type; the root of PCI is always 0. */
function numberControllers(controllers: Controller[]): void {
  const taken = new Map<string, Set<number>>();
  const setOf = ({ type }: Controller): Set<number> => {
    const found = taken.get(type) ?? new Set<number>();
    taken.set(type, found);
    return found;
  };
  for (const one of controllers) if (one.index !== undefined) setOf(one).add(one.index);
  const next = new Map<string, number>();
  for (const [place, one] of controllers.entries()) {
    if (one.index !== undefined) continue;
    const master = isCompanion(one) ? masterBefore(controllers, place) : undefined;
    if (master !== undefined) {
      one.index = master;
      continue;
    }
    const set = setOf(one);
    let index = isRoot(one) ? 0 : Math.max(next.get(one.type) ?? 0, one.type === 'pci' ? 1 : 0);
    while (set.has(index)) index++;
    set.add(index);
    if (!isRoot(one)) next.set(one.type, index + 1);
    one.index = index;
  }
}

function isCompanion({ type, model }: Controller): boolean {
  return type === 'usb' && model !== undefined && Object.hasOwn(startPorts, model);
}

/** virt-install names the companions of a USB 2.0 controller without numbers: they belong to the one before them. */
function masterBefore(controllers: readonly Controller[], place: number): number | undefined {
  return controllers.slice(0, place).findLast(({ model }) => model === 'ich9-ehci1')?.index;
}

function isRoot(controller: Controller): boolean {
  return controller.model === 'pci-root' || controller.model === 'pcie-root';
}

function fillController(controller: Controller, draft: Draft, facts: DefaultsFacts): void {
  if (controller.type === 'usb') fillUsb(controller, draft, facts);
  if (controller.type === 'scsi' && (controller.model === undefined || controller.model === 'auto'))
    controller.model = defaultScsiModel(draft, facts);
  if (controller.type === 'pci') {
    const root = pciRootOf(familyOf(draft));
    if (controller.model === undefined && controller.index === 0 && root !== undefined)
      controller.model = root;
    const name = pciModelName(controller.model, facts);
    if (name !== undefined) controller.modelName ??= name;
  }
}

function fillUsb(controller: Controller, draft: Draft, facts: DefaultsFacts): void {
  const model = defaultUsbModel(draft, facts);
  if (model !== undefined) controller.model ??= model;
  const start = controller.model === undefined ? undefined : startPorts[controller.model];
  if (start !== undefined) controller.masterStartPort ??= start;
}

/** What the machine has on board, in libvirt's order. */
function implied(draft: Draft, facts: DefaultsFacts): Controller[] {
  const family = familyOf(draft);
  const root = pciRootOf(family);
  const found: Controller[] = [];
  const usb = family === 'i440fx' || family === 'q35' ? defaultUsbModel(draft, facts) : undefined;
  if (usb !== undefined) found.push({ type: 'usb', index: 0, model: usb });
  if (family === 'q35') found.push({ type: 'sata', index: 0 });
  if (root !== undefined) found.push({ type: 'pci', index: 0, model: root });
  return found;
}
