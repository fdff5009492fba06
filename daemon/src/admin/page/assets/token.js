// The token: asked for in a dialog, kept in sessionStorage until the tab is closed.

import { byId } from "./dom.js";

const KEY = "nanod-token";

let asking = null;
let current = stored();

export const token = () => current;

/** Waits until there is another token than one that the node did not take. */
export function wantToken(refused, why) {
  if (current !== refused) return Promise.resolve();
  asking ??= dialog(refused, why).finally(() => {
    asking = null;
  });
  return asking;
}

function stored() {
  try {
    return sessionStorage.getItem(KEY);
  } catch {
    return null;
  }
}

function keep(text) {
  current = text;
  try {
    sessionStorage.setItem(KEY, text);
  } catch {
    // Without storage it holds until the page is loaded anew.
  }
}

function dialog(refused, why) {
  const [box, form, input] = [byId("token-dialog"), byId("token-form"), byId("token")];
  byId("token-wrong").textContent = refused ? `Not that one: ${why}` : "";
  input.value = "";
  return new Promise((resolve, reject) => {
    const done = new AbortController();
    const { signal } = done;
    form.addEventListener(
      "submit",
      (event) => {
        event.preventDefault();
        keep(input.value.trim());
        done.abort();
        box.close();
        resolve();
      },
      { signal },
    );
    box.addEventListener(
      "close",
      () => {
        done.abort();
        reject(new Error("no token was given"));
      },
      { signal },
    );
    box.showModal();
    input.focus();
  });
}
