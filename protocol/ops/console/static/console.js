// Renews the parts of a page as the server sends them. Without this script the page shows the state at its loading.
"use strict";

const address = document.body.dataset.events;
const note = document.querySelector(".live-note");

if (address && note && window.EventSource) {
  let paused = false;
  let waiting = {};
  const state = document.createElement("span");
  const toggle = document.createElement("button");
  toggle.type = "button";
  toggle.className = "quiet small";
  note.append(state, " ", toggle);
  note.hidden = false;

  const say = (text) => {
    if (state.textContent !== text) state.textContent = text;
  };
  const label = () => {
    toggle.textContent = paused ? "Go on" : "Pause";
    say(paused ? "Paused." : "Live, every second.");
  };

  // Puts a part's new HTML in place, and keeps what the reader did there: focus, unfolded details.
  const put = (name, html) => {
    const part = document.querySelector(`[data-part="${CSS.escape(name)}"]`);
    if (!part) return;
    const fresh = document.createElement("template");
    fresh.innerHTML = html;
    if (fresh.innerHTML === part.innerHTML) return; // a screen reader would say it again
    const focus = part.contains(document.activeElement) ? document.activeElement.id : "";
    const folds = [...part.querySelectorAll("details[id]")].map((each) => [each.id, each.open]);
    part.replaceChildren(fresh.content);
    for (const [id, open] of folds) {
      const fold = document.getElementById(id);
      if (fold) fold.open = open;
    }
    if (focus) document.getElementById(focus)?.focus({ preventScroll: true });
  };
  const show = () => {
    const parts = waiting;
    waiting = {};
    for (const [name, html] of Object.entries(parts)) put(name, html);
  };

  const selecting = () => {
    const chosen = window.getSelection();
    return chosen && !chosen.isCollapsed;
  };

  const events = new EventSource(address);
  events.addEventListener("parts", (event) => {
    Object.assign(waiting, JSON.parse(event.data));
    if (!paused && !selecting()) show();
  });
  events.addEventListener("open", label);
  events.addEventListener("full", () => events.close());
  events.addEventListener("error", () => {
    say(
      events.readyState === EventSource.CLOSED
        ? "Not live: too many pages are open, or the program has ended. Load the page again."
        : "Not live: the connection is lost, trying again.",
    );
  });
  toggle.addEventListener("click", () => {
    paused = !paused;
    label();
    if (!paused) show();
  });
  label();
}

// Buttons that copy a text; where the browser does not let them, they select it.
for (const button of document.querySelectorAll("button[data-copy]")) {
  const text = document.getElementById(button.dataset.copy);
  const said = button.nextElementSibling;
  button.parentElement.hidden = false;
  button.addEventListener("click", async () => {
    try {
      await navigator.clipboard.writeText(text.textContent);
      said.textContent = "Copied.";
    } catch {
      window.getSelection().selectAllChildren(text);
      said.textContent = "Selected; copy it now.";
    }
  });
}
