// Draw all that depends on the state.
function draw() {
  const columns = shownColumns(), all = sections();
  const total = all.reduce((sum, section) => sum + section.rows.length, 0);
  const size = Math.max(20, Math.min(100, Math.floor(CELLS_OF_A_PAGE / (columns.length + LEADING.length) / 20) * 20));
  const pages = Math.max(1, Math.ceil(total / size));
  const page = Math.max(0, Math.min(pages - 1, Math.floor(Number(state.page)) || 0));
  drawTable(cut(all, page * size, (page + 1) * size), columns);
  showState();
  byId('status').textContent = `${total} of ${plural(data.rows.length, 'row')}${total ? '' : ': none fits the filters'}${pages > 1 ? `, page ${page + 1} of ${pages}` : ''}`;
  byId('note').textContent = `${note(columns.map(i => data.columns[i].unranked))}${state.share && ` ${ABOUT_SHARES}`}`;
  byId('pager').replaceChildren(...pages > 1 ? [turn('First', 0, page === 0), turn('Previous', page - 1, page === 0), ` ${page + 1} of ${pages} `, turn('Next', page + 1, page === pages - 1), turn('Last', pages - 1, page === pages - 1)] : []);
}

function turn(about, page, disabled) {
  const go = () => {
    choose({ page: String(page) });
    const same = [...byId('pager').children].find(button => button.textContent === about && !button.disabled);
    (same ?? byId('pager').querySelector('button:enabled')).focus();
  };
  return el('button', { type: 'button', disabled, onclick: go }, about);
}

// The part of the sections that lies between two positions.
function cut(all, from, to) {
  const found = [];
  let at = 0;
  for (const section of all) {
    const rows = section.rows.slice(Math.max(0, from - at), Math.max(0, to - at));
    if (rows.length) found.push({ section, rows });
    at += section.rows.length;
  }
  return found;
}

const ABOUT_SHARES = 'Of the way to the best, 0 % is chance, where that is the same for all SAEs, or the random controls of the row’s width, whichever is better; 100 % is the oracle, or else the best SAE. A share of the way to an oracle has an interval over evaluation seeds, where all are at the same ones; one of the way to the best SAE is a point value, since that SAE is chosen by these very numbers: ranks say which differences are real.';

// What ranks are among, or why there are none.
function note(unranked) {
  if (!data.columns.length) return 'There is no column: no run gave a number of a whole SAE. Numbers of subsets (a data set, a letter, a latent) have none.';
  if (unranked.length && unranked.every(why => why)) return `Nothing is ranked: ${[...new Set(unranked)].join('; ')}.`;
  const where = data.places.length > 1 ? ' of the same model and hook point' : '';
  if (state.matched === '') return `Ranks are among all rows but controls${where}, also those that a filter hides.`;
  return `Only rows of like L0 are compared: bands are split at the largest gaps, and within a band the largest L0 is at most 1.56 times the smallest (a factor of 1.25 to either side of its middle). Ranks are within the band${where}.`;
}

byId('about').textContent = `A row is a recipe, with its training seeds, or one SAE. A cell has the mean ± half of its 95 % interval with a sign of what that is over, and the rank with the ranks that the comparisons leave open, and letters: rows that share one cannot be told apart, and others can. L0 is ${mostL0 && mostL0 !== 'training' && mostL0 !== 'k' ? `as measured by ${mostL0}` : mostL0 === 'k' ? 'the k of TopK' : 'as training left it'}, unless a cell says otherwise.`;
byId('legend').append('In the bars: ', el('b', {}, '●'), ' mean, ', el('b', {}, '━'), ' interval, ', el('b', {}, '╍'), ' interval over evaluation seeds alone, ', el('b', {}, '┊'), ' chance level, ', el('b', {}, '│'), ' random controls of the row’s width (of all widths, where it has none of its own); an arrow where one lies beyond the scale.');
byId('signs').append('After an interval: ', ...Object.entries(SIGNS).flatMap(([kind, letters], i) => [i ? '; ' : '', el('b', {}, letters), `, over ${MEANINGS[kind]}`]), '. Only intervals of one sign can be compared by their length: what is known least may look surest. ', data.controls);
makeControls();
addEventListener('hashchange', () => { takeAddress(); draw(); });
takeAddress();
draw();
