'use strict';
// Adds to a page that is whole without it: values under the pointer, series that can be hidden,
// tables that can be sorted. It reads what the page carries and asks for nothing.
(() => {
  const written = (value) =>
    value === null ? '–' : Number(value.toPrecision(4)).toLocaleString('en-US', { maximumFractionDigits: 9 });
  const make = (name, words) => Object.assign(document.createElement(name), words);

  // Where a value stands between the ends of its axis, from 0 to 1.
  const share = (axis, value) => {
    let at = value;
    if (axis.k === 'log') at = value > 0 ? Math.log10(value) : axis.f;
    if (axis.k === 'nines') at = value >= 1 ? axis.t : -Math.log10(Math.max(1 - value, 1e-9));
    return (Math.min(Math.max(at, axis.f), axis.t) - axis.f) / (axis.t - axis.f);
  };
  const label = (axis, value) => {
    if (axis.k !== 'nines') return `${written(value)} ${axis.u}`;
    return value >= 1 ? 'max' : value <= 0 ? 'min' : `p${Number((value * 100).toPrecision(7))}`;
  };

  const tipOf = (plot) => {
    const tip = make('output', { className: 'tip', hidden: true });
    plot.append(tip);
    return (lines, x) => {
      tip.hidden = lines.length === 0;
      if (tip.hidden) return;
      tip.replaceChildren(...lines.map(([text, swatch]) => {
        const line = make('span', {});
        if (swatch) line.append(make('i', { className: `swatch ${swatch}` }));
        line.append(make('bdi', { textContent: text }));
        return line;
      }));
      const room = plot.clientWidth - tip.offsetWidth;
      tip.style.left = `${Math.min(Math.max(x * plot.clientWidth + 12, 0), Math.max(room, 0))}px`;
    };
  };

  // Calls `show` with a position in the drawing's own units, or `step` with a direction.
  const listen = (svg, { show, step, hide }) => {
    svg.tabIndex = 0;
    const at = (event) => {
      const box = svg.getBoundingClientRect();
      const view = svg.viewBox.baseVal;
      show((event.clientX - box.left) / box.width * view.width, event.target);
    };
    svg.addEventListener('pointermove', at);
    svg.addEventListener('pointerdown', at);
    svg.addEventListener('pointerleave', (event) => event.pointerType === 'mouse' && hide());
    svg.addEventListener('blur', hide);
    svg.addEventListener('keydown', (event) => {
      const steps = { ArrowLeft: -1, ArrowRight: 1, Home: -1e9, End: 1e9 };
      if (event.key === 'Escape') hide();
      if (!(event.key in steps)) return;
      event.preventDefault();
      step(steps[event.key]);
    });
  };

  const readLines = (figure, svg, data, tip) => {
    const [left, right, top, bottom] = data.box;
    const series = data.s.map(([name, swatch, join, xs, ys], index) => {
      const x = xs || data.s[0][3];
      return {
        name, swatch, join, x, y: ys, index,
        px: x.map((value) => left + share(data.x, value) * (right - left)),
        group: svg.querySelector(`[data-s="${index}"]`),
      };
    });
    const rule = document.createElementNS(svg.namespaceURI, 'path');
    rule.setAttribute('class', 'rule');
    svg.append(rule);
    const shown = () => series.filter((one) => !one.group.classList.contains('off'));
    const nearest = (one, px) => {
      let best = -1;
      one.px.forEach((at, index) => {
        if (one.y[index] === null) return;
        if (one.join === 'step' && at > px) return;
        if (best < 0 || Math.abs(at - px) < Math.abs(one.px[best] - px)) best = index;
      });
      return best;
    };
    let last = null;
    const show = (px) => {
      const found = shown().map((one) => [one, nearest(one, px)]).filter(([, index]) => index >= 0);
      if (found.length === 0) return hide();
      const far = ([one, index]) => Math.abs(one.px[index] - px);
      const lead = found.reduce((best, next) => (far(next) < far(best) ? next : best));
      const close = found.filter((one) => far(one) <= Math.max(30, far(lead)));
      last = lead[0].px[lead[1]];
      rule.setAttribute('d', `M${last} ${top}V${bottom}`);
      const lines = close.map(([one, index]) =>
        [`${series.length > 1 ? `${one.name}: ` : ''}${written(one.y[index])} ${data.y.u}`, one.swatch]);
      tip([[label(data.x, lead[0].x[lead[1]]), ''], ...lines], last / svg.viewBox.baseVal.width);
    };
    const hide = () => { rule.removeAttribute('d'); tip([], 0); };
    const step = (by) => {
      const all = [...new Set(shown().flatMap((one) => one.px.filter((_, index) => one.y[index] !== null)))];
      all.sort((a, b) => a - b);
      if (all.length === 0) return;
      const from = all.findIndex((px) => px >= (last ?? -1) - 1e-6);
      show(all[Math.min(Math.max((last === null ? -1 : from) + by, 0), all.length - 1)]);
    };
    listen(svg, { show, step, hide });
    if (series.length < 2) return;
    figure.querySelectorAll('.legend li').forEach((item, index) => {
      const button = make('button', { type: 'button' });
      button.append(...item.childNodes);
      button.setAttribute('aria-pressed', 'true');
      button.addEventListener('click', () => {
        const isOff = series[index].group.classList.toggle('off');
        button.setAttribute('aria-pressed', String(!isOff));
      });
      item.append(button);
    });
  };

  const readCells = (svg, data, tip) => {
    const rects = [...svg.querySelectorAll('rect')];
    let last = -1;
    const tell = (index) => {
      const [x0, x1, y0, y1, n] = data.c[index];
      last = index;
      const box = rects[index].getBoundingClientRect();
      const whole = svg.getBoundingClientRect();
      tip([
        [`${written(data.xs[x0])} to ${written(data.xs[x1])} ${data.x.u}`, ''],
        [`${written(data.ys[y0])} to ${written(data.ys[y1])} ${data.y.u}: ${written(n)}`, ''],
      ], (box.right - whole.left) / whole.width);
    };
    const hide = () => tip([], 0);
    const show = (_, target) => {
      const index = rects.indexOf(target);
      if (index >= 0) tell(index); else hide();
    };
    const step = (by) => tell(Math.min(Math.max(last + by, 0), rects.length - 1));
    listen(svg, { show, step, hide });
  };

  for (const figure of document.querySelectorAll('figure[data-chart]')) {
    const plot = figure.querySelector('.plot');
    const svg = plot.querySelector('svg');
    const data = JSON.parse(figure.dataset.chart);
    if (data.c) readCells(svg, data, tipOf(plot)); else readLines(figure, svg, data, tipOf(plot));
  }

  // The number that a cell begins with, marks and separators aside; a dash is none.
  const numberIn = (text) => {
    const found = text.replace(/[†,\s]/g, '').match(/^[+±-]?\d+(\.\d+)?/);
    return found ? Number(found[0].replace('±', '')) : null;
  };
  const comparing = (column, by) => (a, b) => {
    const [first, second] = [a, b].map((row) => row.cells[column].textContent.trim());
    const [one, other] = [numberIn(first), numberIn(second)];
    if (one !== null && other !== null && one !== other) return (one - other) * by;
    if ((one === null) !== (other === null)) return one === null ? 1 : -1;
    return first.localeCompare(second, 'en', { numeric: true }) * by;
  };
  for (const table of document.querySelectorAll('table')) {
    const body = table.tBodies[0];
    const rows = [...body.rows];
    if (rows.length < 3 || rows.some((row) => row.cells.length < 2)) continue;
    // Rows of one group stay together: what they have in common is what makes them comparable.
    const groups = [];
    rows.forEach((row) => {
      if (groups.length === 0 || row.classList.contains('group')) groups.push([]);
      groups[groups.length - 1].push(row);
    });
    if (groups.length > 1 && groups.every((group) => group.length < 2)) continue;
    const heads = [...table.tHead.rows[0].cells];
    heads.forEach((head, column) => {
      const button = make('button', { type: 'button' });
      button.append(...head.childNodes);
      button.addEventListener('click', () => {
        const order = head.getAttribute('aria-sort');
        const next = { null: 'ascending', ascending: 'descending', descending: null }[order];
        heads.forEach((other) => other.removeAttribute('aria-sort'));
        if (next) head.setAttribute('aria-sort', next);
        for (const group of groups) {
          const sorted = [...group];
          if (next) sorted.sort(comparing(column, next === 'ascending' ? 1 : -1));
          sorted.forEach((row, index) => {
            row.classList.toggle('group', index === 0 && groups.length > 1);
            body.append(row);
          });
        }
      });
      head.append(button);
    });
  }

  for (const field of document.querySelectorAll('textarea')) {
    field.addEventListener('keydown', (event) => {
      if (event.key === 'Enter' && (event.ctrlKey || event.metaKey)) field.form.requestSubmit();
    });
  }
})();
