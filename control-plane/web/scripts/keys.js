// A key that has just been made can be taken along to the playground. It is put in this tab's sessionStorage when the
// link is followed, never before, and sent to nobody from here.
"use strict";
for (const offer of document.querySelectorAll("[data-key]")) {
  const source = document.getElementById(offer.dataset.key);
  offer.hidden = false;
  offer.querySelector("a").addEventListener("click", () => {
    const place = "apiclay.keys:" + offer.dataset.listing;
    let known = [];
    try { known = JSON.parse(sessionStorage.getItem(place)) ?? []; } catch { /* written by another version */ }
    known = known.filter((one) => one.key !== source.textContent);
    known.unshift({ name: offer.dataset.name, key: source.textContent });
    sessionStorage.setItem(place, JSON.stringify(known.slice(0, 10)));
  });
}
