// Light, dark or as the system has it: what was chosen last comes from localStorage, and goes to the
// root element before anything is drawn; so this is no module.
"use strict";
(() => {
  const KEY = "nanod-scheme";
  const NAMES = { system: "System", light: "Light", dark: "Dark" };
  const ORDER = Object.keys(NAMES);
  const root = document.documentElement;

  function kept() {
    try {
      const name = localStorage.getItem(KEY);
      return ORDER.includes(name) ? name : "system";
    } catch {
      return "system";
    }
  }

  function keep(name) {
    try {
      localStorage.setItem(KEY, name);
    } catch {
      // Without storage it holds until the page is loaded anew.
    }
  }

  function show(name) {
    root.dataset.scheme = name;
    const button = document.getElementById("scheme");
    if (button) {
      button.setAttribute("aria-label", `Colours: ${NAMES[name]}`);
      document.getElementById("scheme-name").textContent = NAMES[name];
    }
  }

  show(kept());
  document.addEventListener("DOMContentLoaded", () => {
    show(root.dataset.scheme);
    document.getElementById("scheme").addEventListener("click", () => {
      const next = ORDER[(ORDER.indexOf(root.dataset.scheme) + 1) % ORDER.length];
      keep(next);
      show(next);
    });
  });
})();
