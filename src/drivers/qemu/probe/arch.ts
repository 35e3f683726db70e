/** Architecture names: QEMU's, as in its binaries' names and query-target, and libvirt's, as in definitions. */

/** Where the two differ (libvirt: virArch; QEMU: SysEmuTarget). */
const different: Readonly<Record<string, string>> = {
  i386: 'i686',
  arm: 'armv7l',
  hppa: 'parisc',
  or1k: 'openrisc',
};

/** libvirt's name of a QEMU target: `i386` is `i686`. */
export function archOfTarget(target: string): string {
  return different[target] ?? target;
}

/** QEMU targets that can run guests of that architecture, the fitting one first. */
export function targetsOfArch(arch: string): readonly string[] {
  switch (arch) {
    case 'i686':
      return ['i386', 'x86_64'];
    case 'armv7l':
    case 'armv6l':
      return ['arm', 'aarch64'];
    case 'ppc64le':
      return ['ppc64'];
    case 'parisc':
      return ['hppa'];
    case 'openrisc':
      return ['or1k'];
    default:
      return [arch];
  }
}

/** libvirt's name of the architecture this process runs on (`process.arch`). */
export function hostArch(nodeArch: string): string {
  const names: Readonly<Record<string, string>> = {
    x64: 'x86_64',
    ia32: 'i686',
    arm64: 'aarch64',
    arm: 'armv7l',
    ppc64: 'ppc64le',
    loong64: 'loongarch64',
  };
  return names[nodeArch] ?? nodeArch;
}
