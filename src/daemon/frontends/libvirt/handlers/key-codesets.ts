/** Key codes of other sets as Linux's (linux/input-event-codes.h): what a PC keyboard sends, and USB's usages. */
import { errorNumber, LibvirtError } from '../../../../libvirt/errors.ts';
import { invalid } from './support.ts';

/** virKeycodeSet (libvirt-domain.h). */
const codeset = { linux: 0, xt: 1, atSet1: 2, usb: 7, qnum: 9 } as const;

/** Up to here a PC's scan codes (set 1) are Linux's codes, which were made from them. */
const LAST_SHARED_SCAN_CODE = 0x58;

/** Keys whose scan code has the prefix e0, by the code behind it. */
const extendedKeys: ReadonlyMap<number, number> = new Map([
  [0x1c, 96],
  [0x1d, 97],
  [0x35, 98],
  [0x37, 99],
  [0x38, 100],
  [0x47, 102],
  [0x48, 103],
  [0x49, 104],
  [0x4b, 105],
  [0x4d, 106],
  [0x4f, 107],
  [0x50, 108],
  [0x51, 109],
  [0x52, 110],
  [0x53, 111],
  [0x5b, 125],
  [0x5c, 126],
  [0x5d, 127],
]);

/** Linux's codes by USB usage (HID Usage Tables, keyboard page), from usage 4 on. */
const FIRST_USAGE = 4;
const usbKeys: readonly number[] = [
  ...[30, 48, 46, 32, 18, 33, 34, 35, 23, 36, 37, 38, 50, 49, 24, 25, 16, 19, 31, 20, 22, 47, 17, 45, 21, 44],
  ...[2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 28, 1, 14, 15, 57, 12, 13, 26, 27, 43, 43, 39, 40, 41, 51, 52, 53, 58],
  ...[59, 60, 61, 62, 63, 64, 65, 66, 67, 68, 87, 88, 99, 70, 119, 110, 102, 104, 111, 107, 109, 106, 105],
  ...[108, 103, 69, 98, 55, 74, 78, 96, 79, 80, 81, 75, 76, 77, 71, 72, 73, 82, 83, 86, 127],
];
/** From usage 224 on: left control, shift, alt and meta, then the right ones. */
const FIRST_MODIFIER = 224;
const usbModifiers: readonly number[] = [29, 42, 56, 125, 97, 54, 100, 126];

/** @throws LibvirtError for a set that is not known here, or a code that it does not have */
export function toLinuxCodes(set: number, codes: readonly number[]): number[] {
  const translate = translatorOf(set);
  return codes.map((code) => {
    const found = translate(code);
    if (found !== undefined) return found;
    throw invalid(`cannot translate keycode ${code} of ${nameOf(set)} codeset to linux keycode`);
  });
}

type Translator = (code: number) => number | undefined;

function translatorOf(set: number): Translator {
  switch (set) {
    case codeset.linux:
      return (code) => code;
    case codeset.xt:
    case codeset.atSet1:
      return (code) => (code >> 8 === 0xe0 ? extendedKeys.get(code & 0xff) : shared(code));
    case codeset.qnum:
      // QEMU's own numbers: the prefix e0 is bit 7.
      return (code) => (code & 0x80 ? extendedKeys.get(code & 0x7f) : shared(code));
    case codeset.usb:
      return (code) =>
        code >= FIRST_MODIFIER ? usbModifiers[code - FIRST_MODIFIER] : usbKeys[code - FIRST_USAGE];
    default:
      throw new LibvirtError(
        errorNumber.operationUnsupported,
        `codeset ${set}: key codes of Linux, PC keyboards (xt, qnum) and USB are known`,
      );
  }
}

const shared: Translator = (code) => (code > 0 && code <= LAST_SHARED_SCAN_CODE ? code : undefined);

function nameOf(set: number): string {
  return Object.entries(codeset).find(([, number]) => number === set)?.[0] ?? String(set);
}
