// What stands in a cell: the mean, its interval in numbers and drawn, the rank; or that it is blank, and why.
const KINDS = { both: 'training and evaluation seeds', training: 'training seeds', evaluation: 'evaluation seeds' };
const SIGNS = { both: 'te', training: 't', evaluation: 'e' };
const MEANINGS = { ...KINDS, evaluation: 'evaluation seeds alone, of these very weights' };

// What an interval is over: a sign to see, its meaning to hear.
const sign = kind => el('span', { class: 'kind', role: 'img', title: `over ${MEANINGS[kind]}`, 'aria-label': `over ${MEANINGS[kind]}` }, SIGNS[kind]);

// [what varies, low, high] of the interval that is shown.
function interval(cell) {
  const kind = state.over === 'widest' ? Object.keys(KINDS).find(name => cell[name]) : state.over;
  return cell[kind] ? [kind, ...cell[kind]] : null;
}

const shownRank = cell => state.matched === '' ? cell.rank : cell.matched;

const MOST_LETTERS = 6;

function rankText([rank, low, high, , letters]) {
  const shown = letters.length > MOST_LETTERS ? `${letters.slice(0, MOST_LETTERS)}…` : letters;
  return `rank ${rank}${low === high ? '' : ` (${low}–${high})`}${shown && ` ${shown}`}`;
}

const WIDTH = 112, HEIGHT = 14, MIDDLE = 7;

function drawn(column, cell) {
  const [low, high] = column[state.scale];
  const place = value => high > low ? 4 + (WIDTH - 8) * (value / 2 - low / 2) / (high / 2 - low / 2) : WIDTH / 2; // halves: numbers may be as large as numbers can be
  const inside = value => Math.min(WIDTH - 2, Math.max(2, place(value)));
  const off = value => place(value) > WIDTH ? 1 : place(value) < 0 ? -1 : 0;
  const arrow = (value, kind) => {
    const tip = off(value) > 0 ? WIDTH : 0, back = tip - 5 * off(value);
    return svg('path', { class: kind, d: `M${tip} ${MIDDLE}L${back} ${MIDDLE - 3}V${MIDDLE + 3}Z` });
  };
  const tick = (value, kind) => !some(value) ? null : off(value) ? arrow(value, kind) :
    svg('line', { class: kind, x1: place(value), x2: place(value), y1: 0, y2: HEIGHT });
  const ends = interval(cell);
  const line = ends && svg('line', { class: `interval ${ends[0]}`, x1: inside(ends[1]), x2: inside(ends[2]), y1: MIDDLE, y2: MIDDLE });
  const cut = ends && [ends[1], ends[2]].filter(off).map(end => arrow(end, 'interval'));
  const mean = off(cell.mean) ? arrow(cell.mean, 'mean') : svg('circle', { class: 'mean', cx: place(cell.mean), cy: MIDDLE, r: 3 });
  return svg('svg', { width: WIDTH, height: HEIGHT, viewBox: `0 0 ${WIDTH} ${HEIGHT}`, 'aria-hidden': 'true' },
    svg('line', { class: 'axis', x1: 0, x2: WIDTH, y1: MIDDLE, y2: MIDDLE }),
    tick(cell.chance, 'chance'), tick(cell.control?.[0], 'control'), line, cut, mean);
}

const shareEnds = ({ share_ends: ends }) => ends ? ` (${ends.map(percent).join(' to ')} over evaluation seeds)` : '';

// How far a mean is on the way from chance or random controls to the best.
const shareOfTheWay = cell => some(cell.of_best) ? el('span', { class: 'number share' }, percent(cell.of_best), el('span', { class: 'hidden' }, ' of the way', shareEnds(cell), '; mean')) :
  el('span', { class: 'notes', title: data.no_ways[cell.no_way] }, 'no share');

function cellContent(column, row, cell) {
  if (!some(cell.mean)) return [el('span', { class: 'blank' }, '—'), el('span', { class: 'why' }, el('span', { class: 'hidden' }, 'blank: '), named(data.reasons[cell.why]))];
  const ends = interval(cell), moves = ends && ends[2] > ends[1];
  const [mean, half] = moves ? withHalf(cell.mean, ends[2] / 2 - ends[1] / 2) : [number(cell.mean), ''];
  const rank = shownRank(cell);
  const notes = [
    ends && !moves ? ['does not move ', sign(ends[0])] : '',
    rank ? el('span', { class: rank[0] === 1 ? 'rank best' : 'rank' }, rankText(rank)) : '',
    cell.seeds < column.seeds ? el('strong', {}, `only ${cell.seeds} of ${column.seeds} evaluation seeds`) : '',
    row.control !== 'random' && cell.control?.[1] < column.seeds ? el('strong', {}, `random controls at only ${cell.control[1]} of ${column.seeds} evaluation seeds`) : '',
    ends ? '' : state.over === 'widest' ? 'one seed' : 'no interval',
  ].filter(note => note !== '');
  return [
    state.share === '' ? '' : shareOfTheWay(cell),
    el('span', { class: state.share === '' ? 'number' : 'number second' }, mean, moves ? [el('span', { class: 'half' }, ` ±${half} `), sign(ends[0])] : ''),
    drawn(column, cell),
    el('span', { class: 'notes' }, notes.flatMap((note, i) => i ? [', ', note] : [note])),
  ];
}
