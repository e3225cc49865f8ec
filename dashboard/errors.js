// Galleries of scans, and the threshold slider that they follow.
//
// Streamlit hands over frames (see errors_pictures.py) and takes {serial, threshold, panel, pick}. At most one request
// is under way; while it is, only the newest threshold is remembered. Text from a dataset is only put in as textContent.

const STYLE = `
.err { --text: var(--st-text-color, #1f2933); --accent: var(--st-primary-color, #0b6ba8);
  --line: var(--st-border-color, #c9d1da); --ground: var(--st-background-color, #fff);
  color: var(--text); font-family: var(--st-font, sans-serif); font-size: 14px; }
.err * { box-sizing: border-box; }
.err .head { display: flex; justify-content: space-between; gap: 8px; }
.err output { font-variant-numeric: tabular-nums; font-weight: 600; }
.err .track { position: relative; height: 26px; margin-bottom: 8px; }
.err .rail { position: absolute; top: 11px; left: 9px; right: 9px; height: 4px; border-radius: 2px;
  background: var(--line); }
.err .own { position: absolute; top: 4px; width: 2px; height: 18px; margin-left: -1px; background: var(--text);
  opacity: .55; }
.err input { position: absolute; inset: 0; width: 100%; height: 26px; margin: 0; background: none; appearance: none;
  -webkit-appearance: none; outline: none; cursor: pointer; }
.err input::-webkit-slider-runnable-track, .err input::-moz-range-track { background: none; }
.err input::-webkit-slider-thumb { -webkit-appearance: none; width: 18px; height: 18px; border-radius: 50%;
  border: 2px solid var(--ground); background: var(--accent); cursor: grab; }
.err input::-moz-range-thumb { width: 15px; height: 15px; border-radius: 50%; border: 2px solid var(--ground);
  background: var(--accent); cursor: grab; }
.err input:focus-visible::-webkit-slider-thumb { outline: 2px solid var(--text); }
.err .groups { display: grid; gap: 12px 20px; grid-template-columns: repeat(auto-fit, minmax(min(100%, 250px), 1fr)); }
.err .group { border-top: 3px solid var(--line); padding-top: 6px; min-width: 0; }
.err .title { display: flex; align-items: baseline; gap: 8px; flex-wrap: wrap; margin-bottom: 6px; }
.err .count { font-size: 1.35rem; font-weight: 600; font-variant-numeric: tabular-nums; }
.err .range { font-size: 12px; opacity: .75; font-variant-numeric: tabular-nums; }
.err .cells { display: grid; gap: 6px; grid-template-columns: repeat(auto-fill, minmax(62px, 1fr)); }
.err button { all: unset; cursor: pointer; display: block; min-width: 0; border-radius: 4px; }
.err button:focus-visible { outline: 2px solid var(--accent); outline-offset: 2px; }
.err button:hover .picture { outline: 2px solid var(--accent); }
.err .picture { width: 100%; border-radius: 3px; background-color: #000; background-repeat: no-repeat; }
.err .words { font-size: 11px; line-height: 1.3; overflow: hidden; overflow-wrap: anywhere;
  display: -webkit-box; -webkit-line-clamp: 2; -webkit-box-orient: vertical; }
.err .name { font-size: 11px; line-height: 1.3; margin-top: 2px; overflow: hidden; white-space: nowrap;
  text-overflow: ellipsis; opacity: .75; }
.err .none { opacity: .7; font-size: 13px; padding: 8px 0; }
`;

const PATIENCE_MS = 1500; // after which an answer counts as lost

function element(tag, className, text) {
  const made = document.createElement(tag);
  if (className) made.className = className;
  if (text !== undefined) made.textContent = text;
  return made;
}

function view(root) {
  const style = element("style", "", STYLE);
  const box = element("div", "err");
  const control = element("div");
  const head = element("div", "head");
  const name = element("span");
  const readout = element("output");
  head.append(name, readout);
  const track = element("div", "track");
  const own = element("div", "own");
  const input = element("input");
  Object.assign(input, { type: "range", min: 0, max: 1, step: 0.001 });
  input.setAttribute("aria-label", "Threshold, dragged");
  track.append(element("div", "rail"), own, input);
  control.append(head, track);
  const groups = element("div", "groups");
  box.append(control, groups);
  root.append(style, box);

  let send = () => {};
  let serial = 0;
  let waiting = 0; // serial of the request under way
  let asked = 0; // when
  let wanted = null;
  let panel = "";
  let held = false;
  let sheet = ""; // a short address of the scans' picture: the long one would be read again for every scan
  let latest = 0; // number of the newest frame

  async function load(address) {
    const bytes = Uint8Array.from(atob(address.split(",")[1] ?? ""), (sign) => sign.charCodeAt(0));
    const found = URL.createObjectURL(new Blob([bytes], { type: "image/png" }));
    const picture = new Image();
    picture.src = found;
    await picture.decode().catch(() => {}); // so that nothing flickers
    return found;
  }

  function pump() {
    if (wanted === null || (waiting && performance.now() - asked < PATIENCE_MS)) return;
    waiting = ++serial;
    asked = performance.now();
    send({ serial, threshold: wanted, panel, pick: "" });
    wanted = null;
  }
  const say = (value) => (readout.textContent = value.toFixed(3));
  input.addEventListener("input", () => {
    wanted = Number(input.value);
    say(wanted);
    pump();
  });
  input.addEventListener("pointerdown", () => (held = true));
  for (const over of ["pointerup", "pointercancel", "change"]) input.addEventListener(over, () => (held = false));
  setInterval(() => box.isConnected && pump(), PATIENCE_MS / 3);

  function picture(data, cell) {
    const { width, height, columns, rows } = data.sheet;
    const made = element("div", "picture");
    const part = (index, count) => (count > 1 ? (100 * index) / (count - 1) : 0);
    made.style.aspectRatio = `${width} / ${height}`;
    made.style.backgroundImage = `url(${sheet})`;
    made.style.backgroundSize = `${100 * columns}% ${100 * rows}%`;
    made.style.backgroundPosition = `${part(cell.n % columns, columns)}% ${part(Math.floor(cell.n / columns), rows)}%`;
    if (width < 48) made.style.imageRendering = "pixelated";
    return made;
  }

  function group(data, one) {
    const made = element("section", "group");
    made.style.borderTopColor = one.colour;
    const title = element("div", "title");
    title.append(element("span", "count", one.count), element("span", "", one.title), element("span", "range", one.range));
    const cells = element("div", "cells");
    for (const cell of one.cells) {
      const button = element("button");
      button.title = cell.hint;
      button.setAttribute("aria-label", cell.hint);
      button.append(picture(data, cell), element("div", "name", cell.id), element("div", "words", cell.text));
      button.addEventListener("click", () => send({ serial: ++serial, threshold: null, panel, pick: cell.id }));
      cells.append(button);
    }
    made.append(title, one.cells.length ? cells : element("div", "none", one.none));
    return made;
  }

  async function show(data) {
    const number = ++latest;
    if (data.serial >= waiting) waiting = 0;
    serial = Math.max(serial, data.serial);
    panel = data.panel;
    control.hidden = !data.slider;
    if (data.slider) {
      name.textContent = data.slider.name;
      own.style.left = `calc(9px + (100% - 18px) * ${Math.min(1, Math.max(0, data.slider.own))})`;
      own.title = data.slider.hint;
      if (!held && wanted === null && !waiting) {
        input.value = data.slider.threshold;
        say(data.slider.threshold);
      }
    }
    pump();
    const found = data.sheet.address ? await load(data.sheet.address) : "";
    if (number !== latest) return URL.revokeObjectURL(found);
    const before = sheet;
    sheet = found;
    groups.replaceChildren(...data.groups.map((one) => group(data, one)));
    if (before) URL.revokeObjectURL(before);
    box.dataset.serial = data.serial;
    box.dataset.threshold = data.slider ? data.slider.threshold : "";
  }
  return { show, sends: (how) => (send = how) };
}

const mounted = new WeakMap();

export default function ({ data, parentElement, setStateValue }) {
  if (!mounted.has(parentElement)) mounted.set(parentElement, view(parentElement));
  const one = mounted.get(parentElement);
  one.sends((request) => setStateValue("request", request));
  if (data) one.show(data);
}
