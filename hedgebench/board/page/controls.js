// Filters, the choice of metrics, and how intervals and colours are shown.
function chooser(name, label, options) {
  const select = el('select', { name, onchange: event => choose({ [name]: event.target.value }) }, options.map(([value, about]) => el('option', { value }, about)));
  return el('label', {}, el('span', {}, label), select);
}

function field(name, label, props) {
  return el('label', {}, el('span', {}, label), el('input', { name, ...props, oninput: event => choose({ [name]: event.target.value }) }));
}

function tick(name, label, on, off) {
  return el('label', { class: 'tick' }, el('input', { type: 'checkbox', name, onchange: event => choose({ [name]: event.target.checked ? on : off }) }), label);
}

function valuesOf(name) {
  const rows = data.rows.filter(row => row.control === null || !['architecture', 'loss'].includes(name));
  const known = [...new Set(rows.map(row => String(row[name] ?? 'not known')))].sort(collator.compare);
  return [['', 'all'], ...known.map(value => [value, value])];
}

function metricChoice() {
  const groups = new Map();
  data.columns.forEach((column, i) => groups.set(column.eval, [...groups.get(column.eval) ?? [], [column, i]]));
  const button = (about, columns) => el('button', { type: 'button', onclick: () => choose({ columns: columns.join('.') }) }, about);
  const all = data.columns.map((_, i) => i);
  return el('details', { id: 'metrics' }, el('summary', {}, 'Metrics ', el('span', { id: 'chosen' })),
    el('div', { class: 'buttons' }, button('First choice', firstColumns), button('All', all), button('None', [])),
    [...groups].map(([name, columns]) => el('fieldset', {}, el('legend', {}, named(name)), columns.map(([column, i]) =>
      el('div', { class: 'choice' }, aboutButton(column), el('label', { class: 'tick' }, el('input', { type: 'checkbox', name: 'column', value: i, onchange: pick }), el('span', {}, named(column.metric), below(column))))))));
}

const pick = () => choose({ columns: [...document.querySelectorAll('input[name=column]')].filter(box => box.checked).map(box => box.value).join('.') });

function makeControls() {
  const bands = data.bands.map((_, i) => [String(i), `${bandName(i)} (${plural(data.rows.filter(row => row.band === i).length, 'row')})`]);
  const sorts = [...LEADING.map(([key, name]) => [key === 'name' ? '' : key, name]), ...data.columns.map((column, i) => [String(i), `${column.eval} ${column.metric} ${column.apart}`])];
  byId('controls').replaceChildren(
    el('details', { id: 'filters', open: matchMedia('(min-width: 48rem)').matches }, el('summary', {}, 'Filter, sort, view'),
      el('div', { class: 'fields' },
        field('q', 'Name contains', { type: 'search' }), chooser('model', 'Model', valuesOf('model')), chooser('hook', 'Hook point', valuesOf('hook')),
        chooser('architecture', 'Architecture', valuesOf('architecture')), chooser('loss', 'Loss', valuesOf('loss')), chooser('width', 'Width', valuesOf('width')),
        field('low', 'L0 from', { type: 'number', min: 0, step: 'any' }), field('high', 'L0 to', { type: 'number', min: 0, step: 'any' }),
        chooser('matched', 'Matched L0', [['', 'off'], ...bands.length ? [['all', 'all bands']] : [], ...bands]),
        chooser('sort', 'Sort by', sorts), chooser('down', 'Order', [['', 'lowest first'], ['1', 'highest first']]),
        chooser('over', 'Interval over', [['widest', 'whatever is known'], ...Object.entries(KINDS)]),
        chooser('scale', 'Bars reach', [['narrow', 'over the SAEs'], ['wide', 'to controls and chance']]),
        chooser('theme', 'Colours', [['', 'as the system'], ['light', 'light'], ['dark', 'dark']]),
        tick('controls', 'Show controls', '1', ''),
        tick('share', 'Show share of the way to the best', '1', ''),
        el('button', { type: 'button', id: 'reset', onclick: () => choose({ ...START }) }, 'Reset'))),
    metricChoice());
  byId('controls').addEventListener('submit', event => event.preventDefault());
}

// The state of the address, but for what no control of the form can say.
function takeAddress() {
  readAddress();
  for (const input of byId('controls').elements) {
    if (!(input.name in START) || input.type === 'checkbox') continue;
    input.value = state[input.name];
    if (input.value !== state[input.name]) state[input.name] = START[input.name];
  }
}

// What the form shows follows from the state, wherever that came from.
function showState() {
  const chosen = new Set(shownColumns());
  for (const input of byId('controls').elements) {
    if (input.name === 'column') input.checked = chosen.has(Number(input.value));
    else if (input.type === 'checkbox') input.checked = state[input.name] !== '';
    else if (input.name in state && input.value !== state[input.name]) input.value = state[input.name];
  }
  byId('chosen').textContent = `(${chosen.size} of ${data.columns.length})`;
  document.documentElement.dataset.theme = state.theme;
}
