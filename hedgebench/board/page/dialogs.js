// Where a number comes from, what a metric is, what a row is.
function show(title, ...content) {
  const dialog = byId('dialog');
  const close = el('button', { type: 'button', class: 'close', onclick: () => dialog.close() }, 'Close');
  dialog.replaceChildren(el('div', { class: 'inside' }, el('div', { class: 'top' }, el('h2', { id: 'dialog-title' }, title), close), content));
  dialog.onclick = event => { if (event.target === dialog) dialog.close(); };
  if (!dialog.open) dialog.showModal();
  dialog.scrollTop = 0;
  close.focus();
}

const SCOPES = { training: 'of recipes, by the spread over their training seeds', evaluation: 'of these SAEs, by the spread over evaluation seeds' };

function rankSentence(rank, cell) {
  if (!rank) return null;
  const [at, low, high, scope, letters] = rank;
  return `${at}${low === high ? '' : `, may be ${low} to ${high}`} (1 more than how many are better and can be told apart, ${SCOPES[scope]})${letters && `; letters ${letters}: it cannot be told apart from those with one of these, and can from all others`}${(scope === 'training' ? cell.saes : cell.seeds) === 2 ? '; two seeds cannot show which rows are noisier, so that more than 5 % of such comparisons may find a false difference' : ''}`;
}

function unranked(row, cell, column, i) {
  if (row.control !== null) return 'controls are compared with nothing';
  if (column.unranked) return column.unranked;
  const single = data.rows.some(other => other.place === row.place && other.cells[i].rank?.[3] === 'evaluation');
  return single && cell.saes > 1 ? 'single SAEs are compared here, by their evaluation seeds, and this row has several' : 'this row has a single seed, or lacks seeds that the others have';
}

const bothWords = ends => ends && `95 % interval ${range(ends)}`;

function settingFacts(setting) {
  const config = Object.entries(setting.config);
  return [['eval', named(setting.eval)], ['eval version', some(setting.eval_version) ? setting.eval_version : 'none given'], ['data', some(setting.data) ? named(setting.data) : null],
    ['settings', config.length ? el('ul', {}, config.map(([name, value]) => el('li', {}, named(`${name} = ${JSON.stringify(value)}`)))) : 'none']];
}

const joined = (facts, unknown) => Object.entries(facts).map(([name, value]) => `${name} ${value}`).join(', ') || unknown;
const different = texts => [...new Set(texts)].map(text => el('div', {}, named(text)));

// Random controls, and where the way to the best begins and ends, in words.
function controlWords([mean, seeds, own], row, column) {
  const about = [!own ? 'none of its width: of all widths' : some(row.width) ? `width ${row.width}` : '', seeds < column.seeds ? `only ${seeds} of ${column.seeds} evaluation seeds` : ''].filter(Boolean);
  return `${number(mean)}${about.length ? ` (${about.join('; ')})` : ''}`;
}

const wayWords = ({ way: [start, best], control }) => `from ${start === control?.[0] ? 'random controls' : 'chance'} (${number(start)}) to the best (${number(best)})`;

function provenance(row, i) {
  const column = data.columns[i], cell = row.cells[i], setting = data.settings[column.setting];
  const runs = row.runs.map(at => [at, data.runs[at]]).filter(([, run]) => run.setting === column.setting);
  const about = some(cell.mean) ? list([
    ['mean', `${number(cell.mean)} of ${plural(cell.saes, 'SAE')}${cell.seeds ? ` at ${plural(cell.seeds, 'evaluation seed')}` : ', no evaluation seed'}`],
    ...Object.entries(KINDS).map(([kind, words]) => [`over ${words}`, bothWords(cell[kind])]),
    ['rank', rankSentence(cell.rank, cell) ?? `none: ${unranked(row, cell, column, i)}`],
    [row.band === null ? '' : `rank at ${bandName(row.band)}`, rankSentence(cell.matched, cell)],
    ['chance', number(cell.chance)],
    ['random controls', cell.control && controlWords(cell.control, row, column)],
    ['share of the way to the best', cell.way ? `${percent(cell.of_best)}${shareEnds(cell) || ' (a point value, without an interval)'}, ${wayWords(cell)}` : `none: ${data.no_ways[cell.no_way]}`],
  ]) : el('p', {}, 'Blank: ', named(data.reasons[cell.why]));
  const found = run => cell.values?.[run];
  const lines = runs.map(([at, run]) => [named(run.sae), some(run.seed) ? run.seed : 'none', found(at) ? String(found(at)[0]) : `blank (${run.status ?? 'ok'}${run.error ? `: ${run.error}` : ''})`,
    found(at) && some(found(at)[1]) ? `±${number(found(at)[1])}` : '', some(found(at)?.[2]) ? found(at)[2] : '', el('code', {}, named(run.id)), run.file ? el('code', {}, named(run.file)) : '',
    joined(run.incomplete ?? {}, '')]);
  show([named(column.metric), column.apart ? [' (', named(column.apart), ')'] : '', ' of ', named(row.name)], about,
    el('p', {}, el('button', { type: 'button', onclick: () => metricCard(column) }, 'About ', named(column.metric), column.better ? ` (${ARROWS[column.better]})` : '')),
    el('h3', {}, 'Values'), lines.length ? grid(['SAE', 'evaluation seed', 'value', 'standard error', 'units', 'run', 'record', 'went on without'], lines) : el('p', {}, 'No run has these settings.'),
    el('h3', {}, 'Where it comes from'), list([...settingFacts(setting),
      ['model', row.model ? named(row.model) : 'not said'], ['hook point', row.hook ? named(row.hook) : 'not said'],
      ['package versions', different(runs.map(([, run]) => joined(data.versions[run.versions], 'not said')))],
      ['made with', different(runs.map(([, run]) => joined(run.circumstances ?? {}, '')).filter(Boolean))],
      ['source', different(runs.map(([, run]) => run.source).filter(Boolean))]]));
}

function noiseFacts(noise, column) {
  const of = (sd, more) => some(sd) ? `${number(sd)}${more ?? ''}` : null;
  const floor = some(noise.floor_low) ? ` (95 % ${range([noise.floor_low, noise.floor_high])}; ${number(100 * noise.cv)} % of the mean size)` : '';
  const [least, most] = column.bounds;
  const size = n => some(least) && some(most) && noise[`detectable_${n}`] > most - least ? 'none there can be' : number(noise[`detectable_${n}`]);
  const detectable = [2, 3, 5, 10].filter(n => some(noise[`detectable_${n}`])).map(n => `${size(n)} at ${n} ${noise.scope} seeds`).join(', ');
  const compared = noise.scope === 'evaluation' ? 'SAEs' : 'recipes';
  return list([
    ['SD over evaluation seeds', of(noise.floor, floor) ?? 'not known: one seed'],
    ['SD over training seeds', of(noise.sd_training) ?? 'not known: one seed for each recipe'],
    ['measured on', `${plural(noise.n_saes, 'SAE')}, ${noise.n_seeds ? plural(noise.n_seeds, 'evaluation seed') : 'no evaluation seed'}, ${plural(noise.n_variants, 'recipe')} with several training seeds`],
    [`${compared} told apart`, some(noise.groups) ? `${plural(noise.groups, 'group')} of ${noise.compared}` : null],
    [`variance between ${compared}`, some(noise.share) ? `${number(100 * noise.share)} %` : null],
    ['smallest difference found four times in five', detectable],
  ]);
}

function metricCard(column) {
  const setting = data.settings[column.setting];
  const [low, high] = column.bounds;
  const cells = data.rows.map(row => [row, row.cells[data.columns.indexOf(column)]]);
  const ways = cells.flatMap(([, cell]) => cell.way ? [wayWords(cell)] : []);
  const older = some(column.declared_version) && column.declared_version !== setting.eval_version;
  show(named(column.metric), el('p', {}, column.summary ? named(column.summary) : 'Its eval is not installed here, so that nothing more is known of it.'),
    older ? el('p', {}, `The formula is that of version ${column.declared_version} of the eval, which is installed; the numbers are of ${some(setting.eval_version) ? `version ${setting.eval_version}` : 'no version that is named'}.`) : '',
    list([['better', ARROWS[column.better] ?? 'neither end by itself'], ['unit', column.unit ? named(column.unit) : 'none'],
      ['possible values', some(low) || some(high) ? `${some(low) ? number(low) : 'any'} to ${some(high) ? number(high) : 'any'}` : null],
      ['chance', chances(column)], ['random controls', different(cells.flatMap(([row, cell]) => cell.control?.[2] ? [controlWords(cell.control, row, column)] : []))],
      ['share of the way to the best', ways.length ? [different(ways), ABOUT_SHARES] : null],
      ['paper', column.paper ? named(column.paper) : null], ['package', column.package ? named(column.package) : null], ['ranks', column.unranked && `none: ${column.unranked}`]]),
    el('h3', {}, 'Noise'), column.noise.length ? column.noise.map(noise => [data.places.length > 1 ? el('h4', {}, named(data.places[noise.place] || 'place not said')) : '', noiseFacts(noise, column)]) : el('p', {}, 'No SAE but controls has it.'),
    el('h3', {}, 'Measured with'), list(settingFacts(setting)));
}

function chances(column) {
  const i = data.columns.indexOf(column);
  const known = [...new Set(data.rows.map(row => row.cells[i].chance).filter(some))];
  return known.length > 1 ? `depends on the SAE: ${number(Math.min(...known))} to ${number(Math.max(...known))}` : known.length ? number(known[0]) : 'none known';
}

function rowCard(row) {
  const facts = ['architecture', 'loss', 'width', 'k', 'objective', 'train_tokens', 'model', 'hook', 'layer', 'release'];
  show(named(row.name), list([['control', row.control], ...facts.map(name => [name.replace('_', ' '), some(row[name]) ? named(String(row[name])) : 'not known']),
    ['L0', some(row.l0) ? `${number(row.l0)} (from ${row.l0_from})` : 'not known'], ['runs', row.runs.length]]),
    el('h3', {}, plural(row.saes.length, 'SAE')),
    grid(['SAE', 'training seed', 'release', 'id', 'digest'], row.saes.map(sae => [named(sae.sae), some(sae.train_seed) ? sae.train_seed : 'not known', named(sae.release ?? ''), named(sae.sae_id ?? ''), el('code', {}, sae.digest ?? '')])));
}
