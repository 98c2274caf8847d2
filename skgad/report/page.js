"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const find = (id) => document.getElementById(id);
  const images = data.images;
  const scored = images.filter((image) => image.distance !== null);
  const hasTruth = images.some((image) => image.truth !== null);
  const distances = scored.map((image) => image.distance).concat(data.learnt);
  const lowest = Math.min(...[data.threshold].concat(distances.length ? [least(distances)] : []));
  const highest = Math.max(...[data.threshold].concat(distances.length ? [most(distances)] : []));
  // Distances of anomalous images may be many times those of normal ones: their axis is that of logarithms.
  const low = Math.log(Math.max(lowest * 0.98, 1e-9)), high = Math.log(Math.max(highest * 1.02, 2e-9));
  const page = 60;
  let threshold = data.threshold, shown = page;

  function least(values) { return values.reduce((a, b) => Math.min(a, b), Infinity); }
  function most(values) { return values.reduce((a, b) => Math.max(a, b), -Infinity); }
  function digits(value) { return Number(value).toPrecision(4).replace(/\.?0+(e|$)/, "$1"); }
  function percent(share) { return Number.isFinite(share) ? (100 * share).toFixed(1) + " %" : "–"; }
  function isAnomalous(image) { return image.distance > threshold; }
  function isWrong(image) { return image.truth !== null && image.distance !== null && isAnomalous(image) !== (image.truth === -1); }

  function make(name, attributes, ...children) {
    const node = document.createElement(name);
    for (const [key, value] of Object.entries(attributes || {})) node.setAttribute(key, value);
    node.append(...children);
    return node;
  }
  function draw(name, attributes, text) {
    const node = document.createElementNS("http://www.w3.org/2000/svg", name);
    for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
    if (text !== undefined) node.textContent = text;
    return node;
  }

  // What rate a threshold stands for: the p-value of an image just beyond it. Edges are distances, ascending.
  function rateBeyond(value) {
    const { edges, p } = data.staircase;
    let first = 0, last = edges.length;
    while (first < last) {  // the number of edges that are at most `value`
      const middle = (first + last) >> 1;
      if (edges[middle] <= value) first = middle + 1; else last = middle;
    }
    return p[first];
  }

  // Histogram
  const width = 900, height = 240, left = 30, right = 30, bottom = 30, nBins = 60;
  function toX(value) { return left + (width - left - right) * (Math.log(Math.max(value, 1e-9)) - low) / (high - low); }
  function bin(values) {
    const counts = new Array(nBins).fill(0);
    for (const value of values) {
      const at = Math.floor(nBins * (Math.log(Math.max(value, 1e-9)) - low) / (high - low));
      counts[Math.min(Math.max(at, 0), nBins - 1)] += 1;
    }
    return counts;
  }
  function drawHistogram() {
    const svg = draw("svg", { viewBox: `0 0 ${width} ${height}` });
    const known = hasTruth ? scored.filter((image) => image.truth !== -1) : scored;
    const groups = [["bar-test", bin(known.map((image) => image.distance))]];
    if (hasTruth) groups.push(["bar-anomalous", bin(scored.filter((image) => image.truth === -1).map((image) => image.distance))]);
    const top = Math.max(1, ...groups.map(([, counts]) => most(counts)));
    const step = (width - left - right) / nBins, full = height - bottom - 24;
    for (const [name, counts] of groups) counts.forEach((count, at) => {
      if (count) svg.append(draw("rect", { class: name, x: left + at * step, width: step - 1, y: height - bottom - full * count / top, height: full * count / top }));
    });
    const learnt = bin(data.learnt), topLearnt = Math.max(1, most(learnt));
    const points = learnt.map((count, at) => `${left + at * step},${height - bottom - full * count / topLearnt} ${left + (at + 1) * step},${height - bottom - full * count / topLearnt}`);
    svg.append(draw("polyline", { class: "bar-learnt", points: points.join(" ") }));
    svg.append(draw("line", { class: "axis", x1: left, x2: width - right, y1: height - bottom, y2: height - bottom }));
    for (let at = 0; at <= 6; at += 1) {
      const value = Math.exp(low + (high - low) * at / 6);
      svg.append(draw("text", { x: toX(value), y: height - bottom + 16, "text-anchor": "middle" }, digits(value)));
    }
    svg.append(draw("text", { x: 4, y: 14 }, hasTruth ? "blue: normal images; orange: anomalous ones; outline: the learnt ones, left out (to their own scale)" : "blue: these images; outline: the learnt ones, left out (to their own scale)"));
    svg.append(draw("line", { class: "cut", id: "cut", y1: 20, y2: height - bottom }));
    find("histogram").replaceChildren(svg);
  }

  // Counts
  function count(items) {
    const list = find("counts");
    list.replaceChildren(...items.map(([name, value, id]) => make("div", {}, make("dt", {}, name), make("dd", { id }, String(value)))));
  }
  function updateCounts() {
    const anomalous = scored.filter(isAnomalous).length;
    const items = [["called anomalous", `${anomalous} of ${scored.length}`, "n-anomalous"], ["rate this stands for, by the learnt images", percent(rateBeyond(threshold)), "rate"]];
    if (hasTruth) {
      const normals = scored.filter((image) => image.truth === 1), defects = scored.filter((image) => image.truth === -1);
      const alarms = normals.filter(isAnomalous).length, hits = defects.filter(isAnomalous).length;
      items.push(["false alarms", `${alarms} of ${normals.length} (${percent(alarms / normals.length)})`, "n-alarms"]);
      items.push(["misses", `${defects.length - hits} of ${defects.length}`, "n-misses"]);
      items.push(["anomalies found", percent(hits / defects.length), "found"]);
    }
    const unreadable = images.length - scored.length;
    if (unreadable) items.push(["unreadable", unreadable, "n-unreadable"]);
    count(items);
    const cut = find("cut");
    cut.setAttribute("x1", toX(threshold));
    cut.setAttribute("x2", toX(threshold));
  }

  // List
  const filters = {
    all: ["all", () => true],
    anomalous: ["called anomalous", (image) => image.distance !== null && isAnomalous(image)],
    normal: ["called normal", (image) => image.distance !== null && !isAnomalous(image)],
  };
  if (hasTruth) {
    filters.alarms = ["false alarms", (image) => isWrong(image) && image.truth === 1];
    filters.misses = ["misses", (image) => isWrong(image) && image.truth === -1];
  }
  for (const kind of [...new Set(images.map((image) => image.kind).filter((kind) => kind !== null))].sort()) filters["kind " + kind] = ["kind: " + kind, (image) => image.kind === kind];
  if (images.length > scored.length) filters.unreadable = ["unreadable", (image) => image.distance === null];
  for (const [value, [text]] of Object.entries(filters)) find("filter").append(make("option", { value }, text));
  const orders = {
    distance: (a, b) => (b.distance ?? -1) - (a.distance ?? -1),
    "-distance": (a, b) => (a.distance ?? Infinity) - (b.distance ?? Infinity),
    near: (a, b) => Math.abs((a.distance ?? Infinity) - threshold) - Math.abs((b.distance ?? Infinity) - threshold),
    name: (a, b) => (a.name < b.name ? -1 : a.name > b.name ? 1 : 0),
  };
  let listed = [];
  function updateList() {
    const accept = filters[find("filter").value][1], word = find("search").value.toLowerCase();
    listed = images.filter((image) => accept(image) && image.name.toLowerCase().includes(word));
    listed.sort(orders[find("sort").value]);
    find("list").replaceChildren(...listed.slice(0, shown).map(showSmall));
    find("shown").textContent = `${Math.min(shown, listed.length)} of ${listed.length} shown`;
    find("more").hidden = listed.length <= shown;
  }
  function describe(image) {
    if (image.distance === null) return "unreadable";
    return isAnomalous(image) ? "anomalous" : "normal";
  }
  function showSmall(image, at) {
    const button = make("button", { type: "button", class: "image " + describe(image) });
    const source = image.overlay || image.picture || image.thumbnail;
    if (source) button.append(make("img", { src: source, alt: "", loading: "lazy" }));
    const parts = image.name.split(/[\\/]/);
    button.append(make("b", {}, parts.slice(-2).join("/")));
    const verdict = make("span", { class: "verdict" + (isWrong(image) ? " wrong" : "") }, describe(image));
    button.append(make("span", {}, verdict, image.distance === null ? "" : `, distance ${digits(image.distance)}, p ${digits(image.p)}`));
    if (image.truth !== null) button.append(make("span", { class: "faint" }, image.kind && image.truth === -1 ? image.kind : image.truth === 1 ? "is normal" : "is anomalous"));
    if (image.error) button.append(make("span", { class: "faint" }, image.error));
    button.addEventListener("click", () => showLarge(at));
    return button;
  }

  // One image, large
  let large = -1;
  function showLarge(at) {
    if (at < 0 || at >= listed.length) return;
    large = at;
    const image = listed[at], body = find("large-body");
    body.replaceChildren(make("h2", {}, image.name));
    body.append(make("p", {}, image.distance === null ? `unreadable: ${image.error}` : `${describe(image)}: distance ${digits(image.distance)}, threshold ${digits(threshold)}, p-value ${digits(image.p)}`));
    const pair = make("div", { class: "pair" });
    for (const [source, text] of [[image.picture || image.thumbnail, "the photograph"], [image.overlay, "where it is anomalous, with boxes"]]) {
      if (source) pair.append(make("figure", {}, make("img", { src: source, alt: text }), make("figcaption", {}, text)));
    }
    body.append(pair);
    if (image.parts) {
      body.append(make("h3", {}, "What the distance is made of"));
      const whole = most(image.parts.map(([, value]) => Math.abs(value)));
      for (const [name, value] of image.parts) {
        const bar = make("div", { class: "share" + (value < 0 ? " negative" : "") });
        bar.style.width = `${100 * Math.abs(value) / whole}%`;
        body.append(make("div", { class: "part" }, make("span", {}, name), make("span", {}, bar), make("span", {}, digits(value))));
      }
    }
    for (const region of image.regions || []) body.append(make("p", { class: "faint" }, `box ${Math.round(region.left)}, ${Math.round(region.top)} to ${Math.round(region.right)}, ${Math.round(region.bottom)}: distance ${digits(region.peak)}, p ${digits(region.p_value)} anywhere in a normal image`));
    body.append(make("p", { class: "faint" }, "← and → go through the list, Esc closes."));
    if (!find("large").open) find("large").showModal();
  }
  find("large").addEventListener("keydown", (event) => {
    if (event.key === "ArrowRight") showLarge(large + 1);
    if (event.key === "ArrowLeft") showLarge(large - 1);
  });
  find("close").addEventListener("click", () => find("large").close());

  // Calibration: the share of the normal images here that lie beyond what each rate stands for
  function drawCalibration() {
    const normals = scored.filter((image) => image.truth === 1);
    if (!normals.length) {
      find("calibration-note").textContent = "No image here is known to be normal, so that the rate that came is not known.";
      return;
    }
    const side = 320, edge = 44, most = 0.3, svg = draw("svg", { viewBox: `0 -30 ${side + 60} ${side + 30}`, style: "max-width: 26rem" });
    const x = (value) => edge + (side - edge) * value / most, y = (value) => (side - 30) * (1 - value / most);
    svg.append(draw("line", { class: "asked", x1: x(0), y1: y(0), x2: x(most), y2: y(most) }));
    const points = [];
    for (let at = 0; at <= 150; at += 1) {
      const asked = most * at / 150, came = normals.filter((image) => image.p <= asked).length / normals.length;
      points.push(`${x(asked)},${y(Math.min(came, most))}`);
    }
    svg.append(draw("polyline", { class: "came", points: points.join(" ") }));
    for (const value of [0, 0.1, 0.2, 0.3]) {
      svg.append(draw("text", { x: x(value), y: side - 10, "text-anchor": "middle" }, `${100 * value} %`));
      svg.append(draw("text", { x: edge - 6, y: y(value) + 4, "text-anchor": "end" }, `${Math.round(100 * value)} %`));
    }
    svg.append(draw("text", { x: x(0.15), y: -14, "text-anchor": "middle" }, "false alarms that came, by the rate asked for"));
    find("calibration").replaceChildren(svg);
    find("calibration-note").textContent = `Of ${normals.length} normal images; with so few, a share of 5 % is known to ± ${percent(2 * Math.sqrt(0.05 * 0.95 / normals.length))}.`;
  }

  // The threshold moves
  function setThreshold(value, from) {
    threshold = value;
    if (from !== "range") find("threshold").value = String(Math.round(1000 * (Math.log(Math.max(value, 1e-9)) - low) / (high - low)));
    if (from !== "number") find("threshold-number").value = digits(value);
    shown = page;
    updateCounts();
    updateList();
  }
  find("threshold").addEventListener("input", (event) => setThreshold(Math.exp(low + (high - low) * event.target.value / 1000), "range"));
  find("threshold-number").addEventListener("change", (event) => {
    const value = Number(event.target.value);
    if (value > 0) setThreshold(value, "number"); else event.target.value = digits(threshold);
  });
  find("reset").addEventListener("click", () => setThreshold(data.threshold));
  for (const id of ["filter", "sort"]) find(id).addEventListener("change", () => { shown = page; updateList(); });
  find("search").addEventListener("input", () => { shown = page; updateList(); });
  find("more").addEventListener("click", () => { shown += page; updateList(); });
  function isDark() {
    const mode = document.documentElement.dataset.mode;
    return mode ? mode === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  }
  function labelMode() {
    find("mode").textContent = isDark() ? "Light" : "Dark";
    find("mode").setAttribute("aria-pressed", String(isDark()));
  }
  find("mode").addEventListener("click", () => {
    document.documentElement.dataset.mode = isDark() ? "light" : "dark";
    labelMode();
  });
  labelMode();

  drawHistogram();
  drawCalibration();
  setThreshold(data.threshold);
})();
