// The augmentation lab's moving part: sliders of one step and a grid of pictures that follow them.
//
// A host hands over frames (see panel.py) and takes {serial, panel, values, settled}. At most one request is under way;
// while it is, only the newest values are remembered. Text from a dataset is only ever put in as textContent.

const STYLE = `
.lab { --text: var(--st-text-color, var(--jp-ui-font-color1, #1f2933));
  --accent: var(--st-primary-color, var(--jp-brand-color1, #0b6ba8));
  --line: var(--st-border-color, var(--jp-border-color1, #c9d1da));
  --ground: var(--st-background-color, var(--jp-layout-color1, #fff));
  --bad: #d55e00;
  color: var(--text); font-family: var(--st-font, var(--jp-ui-font-family, sans-serif)); font-size: 14px; }
.lab * { box-sizing: border-box; }
.lab .title { font-weight: 600; margin: 0 0 6px; }
.lab .controls { display: grid; grid-template-columns: repeat(auto-fill, minmax(210px, 1fr)); gap: 10px 22px; }
.lab .controls:not(:empty) { margin-bottom: 12px; }
.lab .head { display: flex; justify-content: space-between; gap: 8px; }
.lab output { font-variant-numeric: tabular-nums; opacity: .85; white-space: nowrap; }
.lab .track { position: relative; height: 24px; }
.lab .rail, .lab .fill, .lab .harmful { position: absolute; top: 10px; height: 4px; border-radius: 2px; }
.lab .rail { left: 9px; right: 9px; background: var(--line); }
.lab .fill { background: var(--accent); }
.lab .harmful { background: var(--bad); }
.lab .track input { position: absolute; inset: 0; width: 100%; height: 24px; margin: 0; background: none;
  appearance: none; -webkit-appearance: none; pointer-events: none; outline: none; }
.lab input::-webkit-slider-runnable-track { background: none; }
.lab input::-moz-range-track { background: none; }
.lab input::-webkit-slider-thumb { -webkit-appearance: none; pointer-events: auto; width: 18px; height: 18px;
  border-radius: 50%; border: 2px solid var(--ground); background: var(--accent); cursor: grab; }
.lab input::-moz-range-thumb { pointer-events: auto; width: 15px; height: 15px; border-radius: 50%;
  border: 2px solid var(--ground); background: var(--accent); cursor: grab; }
.lab .track input:focus-visible::-webkit-slider-thumb { outline: 2px solid var(--text); }
.lab .track input:focus-visible::-moz-range-thumb { outline: 2px solid var(--text); }
.lab select, .lab input[type=text] { width: 100%; font: inherit; color: inherit; background: var(--ground);
  border: 1px solid var(--line); border-radius: 6px; padding: 3px 6px; }
.lab .note { margin: 0 0 10px; color: var(--bad); }
.lab .note:empty { display: none; }
.lab .grid { display: grid; gap: 8px; align-items: start; }
.lab .column { font-size: 12px; opacity: .75; text-align: center; }
.lab figure { margin: 0; min-width: 0; }
.lab canvas { display: block; width: 100%; border-radius: 3px; background: #000; }
.lab figcaption { font-size: 11px; line-height: 1.3; margin-top: 3px; overflow: hidden; overflow-wrap: anywhere;
  display: -webkit-box; -webkit-line-clamp: 3; -webkit-box-orient: vertical; }
.lab .left { font-weight: 600; white-space: nowrap; }
.lab .lost { color: var(--bad); }
`;

const PATIENCE_MS = 1500; // after which an answer counts as lost

function element(tag, className, text) {
  const made = document.createElement(tag);
  if (className) made.className = className;
  if (text !== undefined) made.textContent = text;
  return made;
}

function decimals(step) {
  const [, digits = ""] = String(step).split(".");
  return digits.length;
}

function words(value, control) {
  const gap = control.unit === "" || control.unit === "°" ? "" : " ";
  return `${Number(value.toFixed(decimals(control.step)))}${gap}${control.unit}`;
}

function slider(control, report) {
  const box = element("div", "control");
  const head = element("div", "head");
  const label = element("span", "", control.label);
  const readout = element("output");
  head.append(label, readout);
  head.title = control.help;
  const track = element("div", "track");
  const fill = element("div", "fill");
  track.append(element("div", "rail"), fill);
  const share = (value) => (100 * (value - control.low)) / (control.high - control.low);
  // A handle's centre does not reach the ends of the track: it is 18 pixels wide.
  const place = (value) => `calc(9px + (100% - 18px) * ${share(value) / 100})`;
  const warnings = [];
  for (const [low, high] of control.harmful) {
    const warning = `A trained run recognises a label less well from ${words(low, control)} to ${words(high, control)}.`;
    warnings.push(warning);
    const mark = element("div", "harmful");
    mark.style.left = place(low);
    mark.style.width = `calc((100% - 18px) * ${(share(high) - share(low)) / 100})`;
    mark.title = warning;
    track.append(mark);
  }
  const names = control.kind === "range" ? ["lowest", "highest"] : [""];
  const handles = names.map((name) => {
    const input = element("input");
    Object.assign(input, { type: "range", min: control.low, max: control.high, step: control.step });
    input.setAttribute("aria-label", name ? `${control.label}, ${name}` : control.label);
    input.setAttribute("aria-description", [control.help, ...warnings].join(" "));
    return input;
  });
  track.append(...handles);
  box.append(head, track);

  let held = []; // a handle stands on a step; what it was set to may lie between two
  const numbers = () => held;
  function draw() {
    const found = numbers();
    const [low, high] = found.length === 2 ? found : [Math.min(Math.max(0, control.low), control.high), found[0]];
    const [first, last] = low <= high ? [low, high] : [high, low];
    fill.style.left = place(first);
    fill.style.width = `calc((100% - 18px) * ${(share(last) - share(first)) / 100})`;
    const said = found.map((value) => words(value, control));
    readout.textContent = said.length === 2 && said[0] !== said[1] ? said.join(" to ") : said[0];
    handles.forEach((input, n) => input.setAttribute("aria-valuetext", said[n]));
  }
  handles.forEach((input, n) => {
    input.addEventListener("input", () => {
      held[n] = Number(input.value);
      const other = held[1 - n];
      if (other !== undefined && (n === 0 ? held[n] > other : held[n] < other)) input.value = held[n] = other;
      handles.forEach((one) => (one.style.zIndex = one === input ? 2 : 1));
      draw();
      report(false);
    });
    input.addEventListener("change", () => report(true));
  });
  track.addEventListener("pointerdown", (event) => {
    if (event.target.tagName === "INPUT") return; // on a handle: the browser drags it
    const area = track.getBoundingClientRect();
    const at = Math.min(1, Math.max(0, (event.clientX - area.left - 9) / (area.width - 18)));
    const value = control.low + at * (control.high - control.low);
    const distances = numbers().map((one) => Math.abs(one - value));
    const nearest = handles[distances.length === 2 && distances[1] < distances[0] ? 1 : 0];
    nearest.value = value;
    nearest.focus();
    nearest.dispatchEvent(new Event("input"));
    nearest.dispatchEvent(new Event("change"));
  });
  const set = (value) => {
    held = [value].flat();
    held.forEach((one, n) => (handles[n].value = one));
    draw();
  };
  set(control.value);
  return { box, set, get: () => (handles.length === 2 ? [...held] : held[0]) };
}

function field(control, report) {
  const box = element("label", "control");
  const head = element("div", "head", control.kind === "values" ? `${control.label}, one of` : control.label);
  head.title = control.help;
  const input = element(control.kind === "choice" ? "select" : "input");
  if (control.kind === "choice") {
    for (const option of control.options) input.append(new Option(option, option));
  } else {
    input.type = "text";
  }
  input.value = control.value;
  input.addEventListener("change", () => report(true));
  box.append(head, input);
  return { box, set: (value) => (input.value = value), get: () => input.value };
}

function lab(root) {
  const style = element("style", "", STYLE);
  const box = element("div", "lab");
  const title = element("p", "title");
  const panel = element("div", "controls");
  const note = element("p", "note");
  note.setAttribute("role", "status");
  const grid = element("div", "grid");
  box.append(title, panel, note, grid);
  root.replaceChildren(style, box);

  let send = () => {};
  let shown = null; // what the controls belong to
  let parts = {}; // a control's name to it
  const moved = new Set(); // names of those that were moved since the last answer
  let serial = 0;
  let pending = null; // what is to be said next
  let sentAt = -Infinity;
  let waiting = 0; // the request that is under way, 0 for none
  let figures = [];
  let layout = "";

  function report(name, settled) {
    moved.add(name);
    pending = { settled };
    pump();
  }

  function pump() {
    if (!pending) return;
    const left = sentAt + PATIENCE_MS - performance.now();
    if (waiting && left > 0) {
      setTimeout(pump, left + 1);
      return;
    }
    const values = Object.fromEntries([...moved].map((name) => [name, parts[name].get()]));
    const { settled } = pending;
    pending = null;
    waiting = ++serial;
    sentAt = performance.now();
    send({ serial, panel: shown, values, settled });
  }

  function drawControls(header) {
    const key = header.panel + header.controls.map((one) => `|${one.kind} ${one.name} ${one.harmful}`).join("");
    if (panel.dataset.key === key) {
      // What somebody holds is newer than what comes back.
      if (pending || header.serial < serial) return;
      moved.clear();
      for (const one of header.controls) parts[one.name].set(one.value);
      return;
    }
    panel.dataset.key = key;
    shown = header.panel;
    pending = null;
    moved.clear();
    parts = {};
    for (const one of header.controls) {
      const draw = one.low === undefined ? field : slider;
      parts[one.name] = draw(one, (settled) => report(one.name, settled));
    }
    panel.replaceChildren(...Object.values(parts).map((part) => part.box));
  }

  function lay(header) {
    const { rows, columns, width, height } = header.shape;
    const key = [rows, columns, width, height].join();
    if (layout === key) return;
    layout = key;
    grid.style.gridTemplateColumns = `repeat(${columns}, minmax(0, ${Math.max(width, 170)}px))`;
    figures = [];
    const heads = header.heads.map((text) => element("div", "column", text));
    for (let n = 0; n < rows * columns; n++) {
      const figure = element("figure");
      const canvas = element("canvas");
      Object.assign(canvas, { width, height });
      canvas.setAttribute("role", "img");
      const caption = element("figcaption");
      figure.append(canvas, caption);
      const context = canvas.getContext("2d", { willReadFrequently: true });
      figures.push({ figure, canvas, caption, context, pixels: context.createImageData(width, height) });
    }
    grid.replaceChildren(...heads, ...figures.map((one) => one.figure));
    for (const { canvas } of figures)
      canvas.style.imageRendering = canvas.clientWidth > width ? "pixelated" : "auto";
  }

  function paint(header, pixels) {
    const { rows, columns, width, height, channels } = header.shape;
    const size = width * height;
    header.heads.forEach((text, n) => (grid.children[n].textContent = text));
    figures.forEach((one, n) => {
      const target = one.pixels.data;
      let from = n * size * channels;
      for (let to = 0; to < 4 * size; to += 4, from += channels) {
        target[to] = pixels[from];
        target[to + 1] = pixels[from + (channels === 3 ? 1 : 0)];
        target[to + 2] = pixels[from + (channels === 3 ? 2 : 0)];
        target[to + 3] = 255;
      }
      one.context.putImageData(one.pixels, 0, 0);
      const row = Math.floor(n / columns);
      const column = n % columns;
      const caption = column ? header.captions[row][column - 1] : { text: header.sides[row], left: "", lost: false };
      one.caption.replaceChildren();
      if (caption.left) one.caption.append(element("span", caption.lost ? "left lost" : "left", caption.left));
      if (caption.left && !header.brief) one.caption.append(" · ");
      if (!header.brief) one.caption.append(caption.text);
      one.figure.title = caption.text;
      one.canvas.setAttribute("aria-label", `${header.sides[row]}, ${header.heads[column]}: ${caption.text}`);
    });
    box.dataset.painted = Number(box.dataset.painted || 0) + 1;
    box.dataset.serial = header.serial;
  }

  function show(bytes) {
    const length = new DataView(bytes.buffer, bytes.byteOffset, 4).getUint32(0, true);
    const header = JSON.parse(new TextDecoder().decode(bytes.subarray(4, 4 + length)));
    if (header.serial >= waiting) waiting = 0;
    serial = Math.max(serial, header.serial);
    title.textContent = header.title;
    title.hidden = !header.title;
    note.textContent = header.note;
    drawControls(header);
    lay(header);
    paint(header, bytes.subarray(4 + length));
    pump();
  }

  return { show, sends: (how) => (send = how) };
}

// Hosts. Streamlit calls the default export for every frame, with its arguments; anywidget calls it without any.

const mounted = new WeakMap();

function streamlit({ data, parentElement, setStateValue }) {
  if (!mounted.has(parentElement)) mounted.set(parentElement, lab(parentElement));
  const one = mounted.get(parentElement);
  one.sends((request) => setStateValue("request", request));
  if (data) one.show(data);
}

function jupyter({ model, el }) {
  const one = lab(el);
  const show = () => {
    const data = model.get("frame");
    if (data && data.byteLength) one.show(new Uint8Array(data.buffer, data.byteOffset, data.byteLength));
  };
  one.sends((request) => {
    model.set("request", request);
    model.save_changes();
  });
  model.on("change:frame", show);
  show();
  return () => model.off("change:frame", show);
}

export default (host) => (host ? streamlit(host) : { render: jupyter });
