
(() => {
  "use strict";
  // Before the body is drawn: the style then knows that sliders work.
  document.documentElement.classList.add("js");

  const sortable = (table) => {
    const heads = [...table.tHead.rows[0].cells];
    const body = table.tBodies[0];
    const status = document.createElement("p");
    status.className = "unseen";
    status.setAttribute("role", "status");
    table.parentNode.after(status);
    heads.forEach((head, column) => {
      const button = document.createElement("button");
      button.type = "button";
      button.append(...head.childNodes);
      head.append(button);
      // The first click brings the best to the top.
      const first = head.dataset.better === "higher" ? "descending" : "ascending";
      button.addEventListener("click", () => {
        const other = { ascending: "descending", descending: "ascending" };
        const order = other[head.getAttribute("aria-sort")] ?? first;
        heads.forEach((each) => each.removeAttribute("aria-sort"));
        head.setAttribute("aria-sort", order);
        const sign = order === "ascending" ? 1 : -1;
        const words = !head.classList.contains("number");
        const key = (row) => {
          const cell = row.cells[column];
          return words ? cell.textContent : cell.hasAttribute("data-value") ? Number(cell.dataset.value) : NaN;
        };
        const missing = (k) => (words ? k === "" : Number.isNaN(k));
        const by = (a, b) => {
          const [x, y] = [key(a), key(b)];
          // Rows without a value come last in both orders.
          if (missing(x) || missing(y)) return missing(x) - missing(y);
          if (words) return sign * x.localeCompare(y, "en", { numeric: true });
          return x === y ? 0 : x < y ? -sign : sign;
        };
        body.append(...[...body.rows].sort(by));
        status.textContent = `Sorted by ${head.querySelector(".title").textContent}, ${order}.`;
      });
    });
  };

  const movable = (figure) => {
    const way = figure.querySelector(".way");
    if (!way) return;
    const [button, slider, output] = ["button", "input", "output"].map((name) => way.querySelector(name));
    const strips = [...figure.querySelectorAll(".strip")].map((strip) => [...strip.querySelectorAll("li")]);
    const last = Number(slider.max);
    let timer = null;
    const show = () => {
      const part = Number(slider.value) / last;
      const labels = new Set();
      for (const frames of strips) {
        const now = Math.round(part * (frames.length - 1));
        frames.forEach((frame, i) => frame.classList.toggle("now", i === now));
        if (frames.length) labels.add(frames[now].querySelector(".label").textContent);
      }
      const words = labels.size === 1 ? [...labels][0] : `${Math.round(100 * part)} %`;
      output.textContent = words;
      slider.setAttribute("aria-valuetext", words);
    };
    const stop = () => {
      clearInterval(timer);
      timer = null;
      button.textContent = "Play";
    };
    const step = () => {
      slider.value = Number(slider.value) + 1;
      show();
      if (Number(slider.value) >= last) stop();
    };
    button.addEventListener("click", () => {
      if (timer !== null) return stop();
      if (Number(slider.value) >= last) slider.value = 0;
      show();
      button.textContent = "Pause";
      // Some three seconds for the whole way, but no frame so short that it is not seen.
      timer = setInterval(step, Math.min(600, Math.max(60, 3000 / last)));
    });
    slider.addEventListener("input", () => {
      stop();
      show();
    });
    way.hidden = false;
    // A browser may have kept the place of an earlier visit.
    slider.value = last;
    show();
  };

  document.addEventListener("DOMContentLoaded", () => {
    document.querySelectorAll("table").forEach(sortable);
    document.querySelectorAll(".slides").forEach(movable);
  });
})();
