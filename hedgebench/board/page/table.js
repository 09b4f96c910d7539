// The table: its header, one page of its rows, and moving about in it by keyboard.
const CELLS_OF_A_PAGE = 2000;
const LEADING = [['name', 'SAEs'], ['architecture', 'architecture'], ['loss', 'loss'], ['width', 'width'], ['l0', 'L0']];
const ARROWS = { high: '↑ higher is better', low: '↓ lower is better' };
let active = [0, 0];

function sortBy(key) {
  const again = state.sort === key || (state.sort === '' && key === 'name');
  const best = data.columns[key]?.better;
  choose({ sort: key, down: again ? (state.down ? '' : '1') : best === 'high' || (best && state.share) ? '1' : '' });
}

function head(key, name, { above = '', below = '', beside = '' } = {}) {
  const sorted = (state.sort || 'name') === key;
  const way = sorted ? (state.down ? 'descending' : 'ascending') : 'none';
  const arrow = sorted ? el('span', { 'aria-hidden': 'true' }, state.down ? ' ▼' : ' ▲') : '';
  const sort = el('button', { type: 'button', class: 'sort', 'data-sort': key, onclick: () => { sortBy(key); again(`[data-sort="${key}"]`); } }, above, name, arrow, below);
  return el('th', { scope: 'col', 'aria-sort': way, class: beside ? 'metric' : key }, el('div', { class: 'head' }, sort, beside));
}

// After the header was drawn again, the focus goes back to where it was.
const again = selector => byId('board').querySelector(selector)?.focus();

// What stands above and below a metric's name: its eval, what tells it from other columns of its name, and which end is better.
const above = column => el('small', {}, named(column.eval));
const below = column => [column.apart ? el('small', {}, named(column.apart)) : '', column.better ? el('small', {}, ARROWS[column.better]) : ''];

function aboutButton(column) {
  return el('button', { type: 'button', class: 'info', 'aria-label': `About ${column.metric}`, onclick: () => metricCard(column) }, 'i');
}

function metricHead(i) {
  const column = data.columns[i];
  return head(String(i), named(column.metric), { above: above(column), below: below(column), beside: aboutButton(column) });
}

// On a narrow screen there is no header: each cell says what it is of, and that opens the metric's card.
const narrow = matchMedia('(max-width: 47.99rem)');
narrow.addEventListener('change', () => draw());

function cellHead(column) {
  if (!narrow.matches) return '';
  return el('button', { type: 'button', class: 'about', tabindex: -1 }, above(column), el('span', {}, named(column.metric), el('span', { class: 'mark', 'aria-hidden': 'true' }, 'i')), below(column));
}

function drawTable(shown, columns) {
  const body = [];
  let line = 0;
  for (const { section, rows } of shown) {
    const name = sectionName(section);
    if (name) body.push(el('tr', { class: 'section' }, el('th', { colspan: LEADING.length + columns.length, scope: 'colgroup' }, name)));
    for (const row of rows) body.push(bodyRow(row, columns, line++));
  }
  byId('board').replaceChildren(
    el('caption', { class: 'hidden' }, `Leaderboard of ${data.title}`),
    el('thead', {}, el('tr', {}, LEADING.map(([key, name]) => head(key, name)), columns.map(metricHead))),
    el('tbody', { onkeydown: move, onclick: open, onfocusin: event => remember(event.target.closest('[data-at]')) }, body));
  const cells = lines();
  active = [Math.max(0, Math.min(active[0], cells.length - 1)), Math.min(active[1], LEADING.length + columns.length - 1)];
  cells[active[0]]?.[active[1]]?.setAttribute('tabindex', '0');
}

function bodyRow(row, columns, line) {
  const made = [];
  const cell = (tag, props, ...children) => {
    const node = el(tag, { tabindex: -1, 'data-at': `${line},${made.length}`, ...props }, ...children);
    made.push(node);
    return node;
  };
  const badges = [row.control === null ? '' : el('span', { class: 'badge' }, `control: ${row.control}`), row.saes.length > 1 ? el('small', {}, plural(row.saes.length, 'training seed')) : ''];
  cell('th', { scope: 'row', class: 'name' }, named(row.name), badges);
  for (const [key, name] of LEADING.slice(1)) {
    const about = key === 'l0' ? [number(row.l0), row.l0_from === mostL0 ? '' : el('small', {}, row.l0_from)] : some(row[key]) ? named(String(row[key])) : '';
    cell('td', { class: key, 'data-label': name }, about);
  }
  for (const i of columns) cell('td', { class: 'metric', 'data-column': i }, cellHead(data.columns[i]), cellContent(data.columns[i], row, row.cells[i]));
  const node = el('tr', { class: row.control === null ? '' : 'control' }, made);
  node.row = row;
  return node;
}

// Who most L0s come from: said once, and beside each L0 that comes from elsewhere.
const counts = {};
for (const row of data.rows) counts[row.l0_from] = (counts[row.l0_from] ?? 0) + 1;
const mostL0 = Object.keys(counts).sort((a, b) => counts[b] - counts[a])[0];

const lines = () => [...byId('board').tBodies[0].rows].filter(row => row.row).map(row => [...row.cells]);

function remember(cell) {
  if (!cell) return;
  byId('board').querySelectorAll('tbody [tabindex="0"]').forEach(node => node.setAttribute('tabindex', '-1'));
  cell.setAttribute('tabindex', '0');
  active = cell.dataset.at.split(',').map(Number);
}

function move(event) {
  const steps = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1], Home: [0, -Infinity], End: [0, Infinity], PageUp: [-10, 0], PageDown: [10, 0] };
  if (event.key === 'Enter' || event.key === ' ') return open(event);
  if (!(event.key in steps) || event.altKey || event.metaKey) return;
  const [down, right] = steps[event.key];
  const cells = lines(), within = (value, count) => Math.max(0, Math.min(count - 1, value));
  const line = event.ctrlKey && right ? (right < 0 ? 0 : cells.length - 1) : within(active[0] + down, cells.length);
  event.preventDefault();
  cells[line][within(active[1] + right, cells[line].length)].focus();
}

function open(event) {
  const cell = event.target.closest('[data-at]');
  if (!cell) return;
  event.preventDefault();
  cell.focus();
  const { row } = cell.parentNode;
  if (cell.dataset.column === undefined) rowCard(row);
  else if (event.target.closest('.about')) metricCard(data.columns[Number(cell.dataset.column)]);
  else provenance(row, Number(cell.dataset.column));
}
