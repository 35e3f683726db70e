/** `filter list|xml|define|undefine|bindings`: rules for what guests may send and get. */
import { methodSummary } from '../api-help.ts';
import { safeLines } from '../format/table.ts';
import type { AddCommand } from './command.ts';
import { lenientHelp, readDocument, warnDropped } from './domain-define.ts';

const FILTER_HELP = 'Name or uuid.';

export const addFilter: AddCommand = (parent, cli) => {
  const filter = parent
    .command('filter')
    .alias('nwfilter')
    .summary('network filters')
    .description(
      'Manages network filters, which interfaces name by <filterref>. They need the system connection.',
    );
  addFilterList(filter, cli);
  addFilterXml(filter, cli);
  addFilterDefine(filter, cli);
  addFilterUndefine(filter, cli);
  addFilterBindings(filter, cli);
};

const addFilterList: AddCommand = (parent, cli) => {
  parent
    .command('list')
    .alias('ls')
    .summary('list the filters')
    .description(methodSummary('nwfilter.list'))
    .option('--own', 'Only filters that somebody defined.')
    .action(async ({ own = false }: { readonly own?: boolean }) => {
      const result = await cli.withClient((client) =>
        client.call('nwfilter.list', own ? { builtIn: false } : {}),
      );
      cli.out.result(result, () =>
        result.filters.length === 0
          ? 'There are none.\n'
          : cli.out.table(result.filters, [
              { title: 'NAME', value: ({ name }) => name },
              { title: 'CHAIN', value: ({ chain }) => chain },
              { title: 'RULES', value: ({ rules }) => String(rules), align: 'right' },
              { title: 'FROM', value: ({ builtIn }) => (builtIn ? 'Vireo' : 'defined') },
              { title: 'REFERS TO', value: ({ refers }) => refers.join(', '), shrinks: true },
            ]),
      );
      for (const { file, reason } of result.quarantined)
        cli.out.warn(`a filter could not be read: ${reason} (now in ${file})`);
    });
};

const addFilterXml: AddCommand = (parent, cli) => {
  parent
    .command('xml')
    .alias('dumpxml')
    .summary('print a filter')
    .description(methodSummary('nwfilter.xml'))
    .argument('<filter>', FILTER_HELP)
    .action(async (filter: string) => {
      const result = await cli.withClient((client) => client.call('nwfilter.xml', { filter }));
      cli.out.result(result, () => safeLines(result.xml));
    });
};

const addFilterDefine: AddCommand = (parent, cli) => {
  parent
    .command('define')
    .summary('store a filter from a file')
    .description(methodSummary('nwfilter.define'))
    .argument('<file>', 'File with nwfilter XML; - is standard input.')
    .option('--lenient', lenientHelp)
    .action(async (file: string, { lenient = false }: { readonly lenient?: boolean }) => {
      const xml = await readDocument(cli, file);
      const result = await cli.withClient((client) =>
        client.call('nwfilter.define', { xml, strict: !lenient }),
      );
      warnDropped(cli, result.dropped);
      cli.out.result(result, () => `Filter '${result.filter.name}' is stored (${result.filter.uuid}).\n`);
    });
};

const addFilterUndefine: AddCommand = (parent, cli) => {
  parent
    .command('undefine')
    .summary('forget a filter')
    .description(methodSummary('nwfilter.undefine'))
    .argument('<filter>', FILTER_HELP)
    .action(async (filter: string) => {
      const gone = await cli.withClient((client) => client.call('nwfilter.undefine', { filter }));
      cli.out.result(gone, () => `Filter '${gone.name}' is gone.\n`);
    });
};

const addFilterBindings: AddCommand = (parent, cli) => {
  parent
    .command('bindings')
    .summary('show which guests have which filter')
    .description(methodSummary('nwfilter.bindings'))
    .action(async () => {
      const result = await cli.withClient((client) => client.call('nwfilter.bindings', {}));
      cli.out.result(result, () =>
        result.bindings.length === 0
          ? 'No running guest has a filter.\n'
          : cli.out.table(result.bindings, [
              { title: 'DEVICE', value: ({ device }) => device },
              { title: 'GUEST', value: ({ domain }) => domain.name, shrinks: true },
              { title: 'FILTER', value: ({ filter }) => filter },
              {
                title: 'PARAMETERS',
                value: ({ parameters }) => parameters.map(({ name, value }) => `${name}=${value}`).join(' '),
                shrinks: true,
              },
            ]),
      );
    });
};
