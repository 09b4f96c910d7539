// Elements and numbers. Whatever comes from the data becomes a text node or the value of a harmless attribute: no markup is ever read from it.
const SVG = 'http://www.w3.org/2000/svg';

const some = value => value !== null && value !== undefined;

function fill(node, props, children) {
  for (const [name, value] of Object.entries(props)) {
    if (!some(value) || value === false) continue;
    if (name.startsWith('on')) node.addEventListener(name.slice(2), value);
    else node.setAttribute(name, value === true ? '' : String(value));
  }
  for (const child of children.flat(Infinity)) if (some(child) && child !== '') node.append(child);
  return node;
}

const el = (tag, props = {}, ...children) => fill(document.createElement(tag), props, children);
const svg = (tag, props = {}, ...children) => fill(document.createElementNS(SVG, tag), props, children);
const byId = id => document.getElementById(id);
// A name, isolated from the direction of the text around it; a long one breaks after its marks.
const named = text => el('bdi', {}, String(text).split(/(?<=[_/:,;=-])/).flatMap((part, i) => i ? [el('wbr'), part] : [part]));

function list(pairs) {
  return el('dl', {}, pairs.filter(([, about]) => some(about) && about !== '' && about.length !== 0)
    .map(([term, about]) => el('div', {}, el('dt', {}, term), el('dd', {}, about))));
}

// A table without the columns that nothing stands in.
function grid(given, all) {
  const kept = given.map((_, i) => i).filter(i => all.some(line => line[i] !== ''));
  const heads = kept.map(i => given[i]), lines = all.map(line => kept.map(i => line[i]));
  return el('div', { class: 'wide', tabindex: 0 }, el('table', {}, el('thead', {}, el('tr', {}, heads.map(head => el('th', { scope: 'col' }, head)))),
    el('tbody', {}, lines.map(line => el('tr', {}, line.map(cell => el('td', {}, cell)))))));
}

// A number to four digits, or to `decimals` places.
function number(value, decimals) {
  if (!some(value)) return '';
  const size = Math.abs(value);
  if (some(decimals)) return value.toFixed(decimals).replace('-', '−');
  const text = size !== 0 && (size < 1e-4 || size >= 1e6) ? value.toExponential(3) : String(Number(value.toPrecision(4)));
  return text.replace('-', '−');
}

// A mean and half of its interval, to two digits of the latter.
function withHalf(mean, half) {
  const decimals = half > 0 ? Math.max(0, 1 - Math.floor(Math.log10(half))) : -1;
  return decimals >= 0 && decimals <= 6 && half < 1e6 ? [number(mean, decimals), number(half, decimals)] : [number(mean), number(half)];
}

const percent = share => `${number(Math.round(100 * share) + 0, 0)} %`; // + 0: no −0
const range = ends => `[${number(ends[0])}, ${number(ends[1])}]`;
const plural = (count, one, many) => `${count} ${count === 1 ? one : many ?? `${one}s`}`;
