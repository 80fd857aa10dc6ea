// A listing's page: code in tabs, and a filter where there are many routes.
"use strict";
const FILTER_FROM_ROUTES = 8;

function makeTabs(box) {
  const tabs = [...box.querySelectorAll(".tab")];
  const list = document.createElement("div");
  list.className = "tab-list";
  list.setAttribute("role", "tablist");
  list.setAttribute("aria-label", "Language");
  const buttons = tabs.map((tab) => {
    const button = document.createElement("button");
    button.type = "button";
    button.id = tab.id + "-tab";
    button.textContent = tab.dataset.name;
    button.setAttribute("role", "tab");
    button.setAttribute("aria-controls", tab.id);
    tab.setAttribute("role", "tabpanel");
    tab.setAttribute("aria-labelledby", button.id);
    tab.querySelector(".tab-title").hidden = true;
    list.append(button);
    return button;
  });
  const choose = (place, focus) => {
    buttons.forEach((button, other) => {
      button.setAttribute("aria-selected", String(other === place));
      button.tabIndex = other === place ? 0 : -1;
      tabs[other].hidden = other !== place;
    });
    if (focus) buttons[place].focus();
    sessionStorage.setItem("apiclay.language", tabs[place].dataset.name);
  };
  buttons.forEach((button, place) => {
    button.addEventListener("click", () => choose(place, false));
    button.addEventListener("keydown", (event) => {
      const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
      if (step) choose((place + step + tabs.length) % tabs.length, true);
    });
  });
  box.prepend(list);
  const before = tabs.findIndex((tab) => tab.dataset.name === sessionStorage.getItem("apiclay.language"));
  choose(Math.max(before, 0), false);
}

function makeFilter(box) {
  const links = [...document.querySelectorAll(".routes li")];
  if (links.length < FILTER_FROM_ROUTES) return;
  box.hidden = false;
  box.querySelector("input").addEventListener("input", (event) => {
    const words = event.target.value.toLowerCase().split(/\s+/);
    for (const link of links) {
      const text = link.textContent.toLowerCase();
      link.hidden = !words.every((word) => text.includes(word));
    }
  });
}

document.querySelectorAll("[data-tabs]").forEach(makeTabs);
document.querySelectorAll(".route-filter").forEach(makeFilter);
const list = document.querySelector(".routes ul");
const current = list?.querySelector("[aria-current]");
if (current) list.scrollTop = current.offsetTop - list.offsetTop - list.clientHeight / 3;
