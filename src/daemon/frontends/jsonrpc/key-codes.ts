/** Linux input codes (linux/input-event-codes.h) and the QKeyCode names of QEMU (qapi/ui.json) for the same keys. */
import { VirtError } from '../../../base/errors.ts';

/** Code, Linux name without `KEY_`, QEMU's name. */
const keys: readonly (readonly [number, string, string])[] = [
  [1, 'ESC', 'esc'],
  [2, '1', '1'],
  [3, '2', '2'],
  [4, '3', '3'],
  [5, '4', '4'],
  [6, '5', '5'],
  [7, '6', '6'],
  [8, '7', '7'],
  [9, '8', '8'],
  [10, '9', '9'],
  [11, '0', '0'],
  [12, 'MINUS', 'minus'],
  [13, 'EQUAL', 'equal'],
  [14, 'BACKSPACE', 'backspace'],
  [15, 'TAB', 'tab'],
  [16, 'Q', 'q'],
  [17, 'W', 'w'],
  [18, 'E', 'e'],
  [19, 'R', 'r'],
  [20, 'T', 't'],
  [21, 'Y', 'y'],
  [22, 'U', 'u'],
  [23, 'I', 'i'],
  [24, 'O', 'o'],
  [25, 'P', 'p'],
  [26, 'LEFTBRACE', 'bracket_left'],
  [27, 'RIGHTBRACE', 'bracket_right'],
  [28, 'ENTER', 'ret'],
  [29, 'LEFTCTRL', 'ctrl'],
  [30, 'A', 'a'],
  [31, 'S', 's'],
  [32, 'D', 'd'],
  [33, 'F', 'f'],
  [34, 'G', 'g'],
  [35, 'H', 'h'],
  [36, 'J', 'j'],
  [37, 'K', 'k'],
  [38, 'L', 'l'],
  [39, 'SEMICOLON', 'semicolon'],
  [40, 'APOSTROPHE', 'apostrophe'],
  [41, 'GRAVE', 'grave_accent'],
  [42, 'LEFTSHIFT', 'shift'],
  [43, 'BACKSLASH', 'backslash'],
  [44, 'Z', 'z'],
  [45, 'X', 'x'],
  [46, 'C', 'c'],
  [47, 'V', 'v'],
  [48, 'B', 'b'],
  [49, 'N', 'n'],
  [50, 'M', 'm'],
  [51, 'COMMA', 'comma'],
  [52, 'DOT', 'dot'],
  [53, 'SLASH', 'slash'],
  [54, 'RIGHTSHIFT', 'shift_r'],
  [55, 'KPASTERISK', 'kp_multiply'],
  [56, 'LEFTALT', 'alt'],
  [57, 'SPACE', 'spc'],
  [58, 'CAPSLOCK', 'caps_lock'],
  [59, 'F1', 'f1'],
  [60, 'F2', 'f2'],
  [61, 'F3', 'f3'],
  [62, 'F4', 'f4'],
  [63, 'F5', 'f5'],
  [64, 'F6', 'f6'],
  [65, 'F7', 'f7'],
  [66, 'F8', 'f8'],
  [67, 'F9', 'f9'],
  [68, 'F10', 'f10'],
  [69, 'NUMLOCK', 'num_lock'],
  [70, 'SCROLLLOCK', 'scroll_lock'],
  [71, 'KP7', 'kp_7'],
  [72, 'KP8', 'kp_8'],
  [73, 'KP9', 'kp_9'],
  [74, 'KPMINUS', 'kp_subtract'],
  [75, 'KP4', 'kp_4'],
  [76, 'KP5', 'kp_5'],
  [77, 'KP6', 'kp_6'],
  [78, 'KPPLUS', 'kp_add'],
  [79, 'KP1', 'kp_1'],
  [80, 'KP2', 'kp_2'],
  [81, 'KP3', 'kp_3'],
  [82, 'KP0', 'kp_0'],
  [83, 'KPDOT', 'kp_decimal'],
  [86, '102ND', 'less'],
  [87, 'F11', 'f11'],
  [88, 'F12', 'f12'],
  [89, 'RO', 'ro'],
  [91, 'HIRAGANA', 'hiragana'],
  [92, 'HENKAN', 'henkan'],
  [93, 'KATAKANAHIRAGANA', 'katakanahiragana'],
  [94, 'MUHENKAN', 'muhenkan'],
  [95, 'KPJPCOMMA', 'kp_comma'],
  [96, 'KPENTER', 'kp_enter'],
  [97, 'RIGHTCTRL', 'ctrl_r'],
  [98, 'KPSLASH', 'kp_divide'],
  [99, 'SYSRQ', 'sysrq'],
  [100, 'RIGHTALT', 'alt_r'],
  [101, 'LINEFEED', 'lf'],
  [102, 'HOME', 'home'],
  [103, 'UP', 'up'],
  [104, 'PAGEUP', 'pgup'],
  [105, 'LEFT', 'left'],
  [106, 'RIGHT', 'right'],
  [107, 'END', 'end'],
  [108, 'DOWN', 'down'],
  [109, 'PAGEDOWN', 'pgdn'],
  [110, 'INSERT', 'insert'],
  [111, 'DELETE', 'delete'],
  [113, 'MUTE', 'audiomute'],
  [114, 'VOLUMEDOWN', 'volumedown'],
  [115, 'VOLUMEUP', 'volumeup'],
  [116, 'POWER', 'power'],
  [117, 'KPEQUAL', 'kp_equals'],
  [119, 'PAUSE', 'pause'],
  [122, 'HANGEUL', 'lang1'],
  [123, 'HANJA', 'lang2'],
  [124, 'YEN', 'yen'],
  [125, 'LEFTMETA', 'meta_l'],
  [126, 'RIGHTMETA', 'meta_r'],
  [127, 'COMPOSE', 'compose'],
  [128, 'STOP', 'stop'],
  [129, 'AGAIN', 'again'],
  [130, 'PROPS', 'props'],
  [131, 'UNDO', 'undo'],
  [132, 'FRONT', 'front'],
  [133, 'COPY', 'copy'],
  [134, 'OPEN', 'open'],
  [135, 'PASTE', 'paste'],
  [136, 'FIND', 'find'],
  [137, 'CUT', 'cut'],
  [138, 'HELP', 'help'],
  [139, 'MENU', 'menu'],
  [140, 'CALC', 'calculator'],
  [142, 'SLEEP', 'sleep'],
  [143, 'WAKEUP', 'wake'],
  [155, 'MAIL', 'mail'],
  [156, 'BOOKMARKS', 'ac_bookmarks'],
  [157, 'COMPUTER', 'computer'],
  [158, 'BACK', 'ac_back'],
  [159, 'FORWARD', 'ac_forward'],
  [163, 'NEXTSONG', 'audionext'],
  [164, 'PLAYPAUSE', 'audioplay'],
  [165, 'PREVIOUSSONG', 'audioprev'],
  [166, 'STOPCD', 'audiostop'],
  [172, 'HOMEPAGE', 'ac_home'],
  [173, 'REFRESH', 'ac_refresh'],
  [210, 'PRINT', 'print'],
  [226, 'MEDIA', 'mediaselect'],
];

const byCode = new Map(keys.map(([code, , qcode]) => [code, qcode]));
const byName = new Map(keys.map(([, name, qcode]) => [name, qcode]));

/**
 * QEMU's names of keys. With codeset `linux` a key is a number or a name (`KEY_A`); with `qcode` it is QEMU's name.
 * @throws VirtError request.invalid
 */
export function toQcodes(given: readonly (string | number)[], codeset: 'qcode' | 'linux'): string[] {
  return given.map((key, index) => {
    const qcode = codeset === 'linux' ? fromLinux(key) : fromQcode(key);
    if (qcode !== undefined) return qcode;
    throw new VirtError('request.invalid', {
      wanted: 'send keys',
      reason: `'${key}' is no key of the codeset '${codeset}' that QEMU knows`,
      hint:
        codeset === 'linux'
          ? 'KEY_A or 30; see linux/input-event-codes.h'
          : "'ctrl', 'alt', 'delete', 'a', ...",
      details: { problems: [{ path: `keys[${index}]`, message: 'is unknown' }] },
    });
  });
}

function fromLinux(key: string | number): string | undefined {
  if (typeof key === 'number') return byCode.get(key);
  return /^\d+$/.test(key) ? byCode.get(Number(key)) : byName.get(key.toUpperCase().replace(/^KEY_/, ''));
}

/**
 * A digit may come as a number: the key with that sign. None of QEMU's names begins with `KEY_`: that is a Linux name,
 * and said clearly. Newer QEMU has more keys than this table; it decides.
 */
function fromQcode(key: string | number): string | undefined {
  if (/^KEY_/i.test(String(key))) return fromLinux(key);
  const name = String(key).toLowerCase();
  return /^[a-z0-9_]{1,32}$/.test(name) ? name : undefined;
}
