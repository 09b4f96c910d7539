// Which rows are shown, and in which order.
const text = row => [row.name, row.release, ...row.saes.map(sae => sae.sae)].join(' ').toLowerCase();
data.rows.forEach(row => { row.text = text(row); });

const FACTS = ['model', 'hook', 'architecture', 'loss', 'width'];

function keeps(row) {
  if (row.control !== null && state.controls === '') return false;
  for (const name of FACTS) {
    const exempt = row.control !== null && (name === 'architecture' || name === 'loss');
    if (state[name] !== '' && !exempt && String(row[name] ?? 'not known') !== state[name]) return false;
  }
  if (state.low !== '' && !(some(row.l0) && row.l0 >= Number(state.low))) return false;
  if (state.high !== '' && !(some(row.l0) && row.l0 <= Number(state.high))) return false;
  if (state.matched !== '' && (!some(row.band) || (state.matched !== 'all' && row.band !== Number(state.matched)))) return false;
  return state.q.toLowerCase().split(/\s+/).every(word => row.text.includes(word));
}

// What rows are sorted by: a fact, or the mean of a column or its share of the way to the best, whichever is shown first; undefined sorts last, either way. Means over fewer evaluation seeds than others' are in no order with them.
function sortKey(row) {
  if (state.sort === '' || state.sort === 'name') return row.at;
  if (state.sort in START || state.sort === 'l0') return row[state.sort] ?? undefined;
  const cell = row.cells[Number(state.sort)];
  return cell?.seeds < data.columns[Number(state.sort)]?.seeds ? undefined : state.share === '' ? cell?.mean : cell?.of_best;
}

const collator = new Intl.Collator('en', { numeric: true });
data.rows.map((row, i) => [row, i]).sort((a, b) => collator.compare(a[0].name, b[0].name)).forEach(([row], at) => { row.at = at; });

function compare(a, b) {
  const first = a.key, second = b.key;
  if (first === undefined || second === undefined) return (first === undefined) - (second === undefined) || a.row.at - b.row.at;
  const order = typeof first === 'number' ? first - second : collator.compare(first, second);
  return (state.down ? -order : order) || a.row.at - b.row.at;
}

// Sections of rows: bands of L0 in the matched view, and in each the controls after the SAEs.
function sections() {
  const found = new Map();
  for (const row of data.rows) {
    if (!keeps(row)) continue;
    const key = `${state.matched === '' ? 0 : row.band} ${row.control === null ? 0 : 1}`;
    if (!found.has(key)) found.set(key, { band: state.matched === '' ? null : row.band, controls: row.control !== null, rows: [] });
    found.get(key).rows.push({ row, key: sortKey(row) });
  }
  const ordered = [...found.values()].sort((a, b) => a.band - b.band || a.controls - b.controls);
  for (const section of ordered) section.rows = section.rows.sort(compare).map(entry => entry.row);
  return ordered;
}

function bandName(i) {
  const band = data.bands[i];
  return band.low === band.high ? `L0 ${number(band.low)}` : `L0 ${number(band.low)} to ${number(band.high)}`;
}

function sectionName(section) {
  const where = section.band === null ? '' : bandName(section.band);
  if (section.controls) return `${where}${where && ': '}controls, made to compare with`;
  return where;
}
