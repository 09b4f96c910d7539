// What the reader has chosen. It is kept in the address, after the #, so that a link shows the same view.
const data = JSON.parse(byId('data').textContent);
const firstColumns = data.columns.flatMap((column, i) => column.first ? [i] : []);
const START = { q: '', model: '', hook: '', architecture: '', loss: '', width: '', low: '', high: '', controls: '1', matched: '', over: 'widest', share: '',
  scale: 'narrow', theme: '', sort: '', down: '', page: '0', columns: firstColumns.join('.') };
const state = { ...START };

function readAddress() {
  const given = new URLSearchParams(location.hash.slice(1));
  for (const name of Object.keys(START)) state[name] = given.get(name) ?? START[name];
}

function writeAddress() {
  const kept = new URLSearchParams(Object.entries(state).filter(([name, value]) => value !== START[name]));
  history.replaceState(null, '', `#${kept}`);
}

const shownColumns = () => state.columns.split('.').filter(text => text !== '').map(Number).filter(i => data.columns[i]);

// Change some of it and draw the page again, from its first rows on unless it is the page that changes.
function choose(changes) {
  Object.assign(state, 'page' in changes ? {} : { page: '0' }, changes);
  writeAddress();
  draw();
}
