// What is too wide on a page, at the present width of the window. Run by check_site.py.
(async () => {
  await document.fonts.ready;
  await new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)));
  const root = document.documentElement;
  const width = root.clientWidth;
  const content = document.querySelector(".md-content") || document.body;
  const text = element => element.textContent.trim().replace(/\s+/g, " ").slice(0, 60);
  const sticksOut = element => element.getBoundingClientRect().right > width + 1;
  // Whether a box within the window scrolls or clips it: then it does not widen the page.
  const isClipped = element => {
    for (let box = element.parentElement; box && box !== document.body; box = box.parentElement) {
      if (getComputedStyle(box).overflowX !== "visible" && !sticksOut(box)) return true;
    }
    return false;
  };
  const outside = [...document.body.querySelectorAll("*")].filter(element => sticksOut(element) && !isClipped(element));
  const tooWide = boxes =>
    [...boxes].filter(box => box.scrollWidth > box.clientWidth + 1).map(box => `${box.scrollWidth - box.clientWidth} px: ${text(box)}`);
  // On a phone, tables of five and more columns scroll in their boxes.
  const tables = [...content.querySelectorAll(".md-typeset__scrollwrap")];
  return {
    page: root.scrollWidth > width ? root.scrollWidth : 0,
    outside: outside.slice(0, 3).map(element => `${element.tagName.toLowerCase()}.${element.classList[0] || ""} "${text(element)}"`),
    programs: tooWide(content.querySelectorAll("pre > code")),
    tables: tooWide(width > 500 ? tables : tables.filter(box => !box.querySelector("th:nth-child(5)"))),
  };
})()
