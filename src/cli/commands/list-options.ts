/** Options of every list. */
import { Option } from 'commander';

/** For hands that know virsh, whose lists are of what runs unless one asks for all. */
export function allOption(nouns: string): Option {
  return new Option('--all', `All ${nouns}, which is what is listed anyway.`).conflicts([
    'active',
    'inactive',
  ]);
}
