// The console's script: keeps pages live through /api/events, and sends the user's actions to the routes of the API.
"use strict";

const meta = (name) => document.querySelector(`meta[name="${name}"]`)?.content ?? "";
const base = meta("base");
const home = `${base}/console/`;
const conversation = document.querySelector(".conversation");

// ---- Live pages: fetch the same page again, and change only what differs. Inputs are left alone. ----

let loading = null;
let again = false;

async function refresh() {
  if (loading) { again = true; return loading; }
  loading = load().finally(() => { loading = null; if (again) { again = false; later(); } });
  return loading;
}

let timer = 0;
function later() {
  clearTimeout(timer);
  timer = setTimeout(refresh, 80);
}

async function load() {
  let answer;
  try {
    answer = await fetch(location.href, { headers: { Accept: "text/html" }, cache: "no-store" });
  } catch { offline(true); return; }
  if (answer.redirected && new URL(answer.url).pathname.startsWith(`${home}login`)) { location.assign(answer.url); return; }
  if (!answer.ok) { offline(answer.status >= 500); return; }
  offline(false);
  const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
  const scroller = document.getElementById("scroll");
  const atEnd = scroller && scroller.scrollHeight - scroller.scrollTop - scroller.clientHeight < 120;
  for (const region of document.querySelectorAll("[data-live]")) {
    const next = fresh.getElementById(region.id);
    if (next) morph(region, next);
  }
  composerFollows(fresh);
  if (atEnd) scroller.scrollTop = scroller.scrollHeight;
}

function morph(old, next) {
  if (old.isEqualNode(next)) return;
  if (old.nodeType !== 1) { old.nodeValue = next.nodeValue; return; }
  for (const { name } of [...old.attributes]) if (!next.hasAttribute(name) && name !== "open") old.removeAttribute(name);
  for (const { name, value } of [...next.attributes]) {
    if (name !== "open" && old.getAttribute(name) !== value) old.setAttribute(name, value);
  }
  if (old.matches("input, textarea, select")) return;
  const known = new Map([...old.children].filter((child) => child.id).map((child) => [child.id, child]));
  let at = old.firstChild;
  for (const child of [...next.childNodes]) {
    const mine = child.id ? known.get(child.id) : at;
    if (mine && !(mine !== at && !child.id) && alike(mine, child)) {
      if (mine !== at) old.insertBefore(mine, at);
      else at = at.nextSibling;
      morph(mine, child);
    } else {
      old.insertBefore(document.importNode(child, true), at);
    }
  }
  while (at) { const gone = at; at = at.nextSibling; gone.remove(); }
}

function alike(one, other) {
  return one.nodeType === other.nodeType && one.nodeName === other.nodeName && (one.id || "") === (other.id || "");
}

function offline(is) { document.getElementById("offline").hidden = !is; }

// ---- What is being typed stays, also when the window closes or opens meanwhile. ----

function composerFollows(fresh) {
  const mine = document.getElementById("composer");
  const next = fresh.getElementById("composer");
  if (!mine || !next || mine.dataset.key === next.dataset.key) return;
  const text = mine.querySelector("textarea")?.value ?? draft();
  const placed = document.importNode(next, true);
  mine.replaceWith(placed);
  const area = placed.querySelector("textarea");
  if (area && text) { area.value = text; fit(area); }
}

const draftKey = conversation ? `draft ${conversation.dataset.id}` : "";
const draft = () => (draftKey && sessionStorage.getItem(draftKey)) || "";

function fit(area) {
  area.style.height = "auto";
  area.style.height = `${Math.min(area.scrollHeight + 2, 192)}px`;
}

document.addEventListener("input", (event) => {
  const area = event.target;
  if (!(area instanceof HTMLTextAreaElement) || area.name !== "text") return;
  fit(area);
  sessionStorage.setItem(draftKey, area.value);
  // A text that was changed after a try is another message.
  const form = area.form;
  if (form.dataset.tried && form.dataset.tried !== area.value) { delete form.dataset.idempotency; delete form.dataset.tried; }
});

document.addEventListener("keydown", (event) => {
  const area = event.target;
  if (!(area instanceof HTMLTextAreaElement) || event.key !== "Enter" || event.shiftKey || event.isComposing) return;
  if (matchMedia("(pointer: coarse)").matches) return;
  event.preventDefault();
  area.form.requestSubmit();
});

// ---- The user's actions. ----

async function post(path, body, headers = {}) {
  let answer;
  try {
    answer = await fetch(base + path, {
      method: "POST",
      headers: { "Content-Type": "application/json", "X-CSRF-Token": meta("csrf-token"), ...headers },
      body: JSON.stringify(body ?? {}),
    });
  } catch { throw new Error(document.getElementById("offline").textContent); }
  if (answer.redirected) { location.assign(answer.url); return {}; }
  const received = await answer.json().catch(() => ({}));
  if (answer.status === 401) { location.assign(`${home}login`); }
  if (!answer.ok) {
    const fields = (received.fields ?? []).map((field) => `${field.path}: ${field.message}`).join("; ");
    throw new Error(fields || received.message || `HTTP ${answer.status}`);
  }
  return received;
}

function say(text) {
  const toast = document.getElementById("toast");
  const line = document.createElement("p");
  line.textContent = text;
  toast.replaceChildren(line);
  setTimeout(() => line.remove(), 7000);
}

function newKey() {
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");
}

const phonePath = () => `/api/conversations/${encodeURIComponent(conversation.dataset.phone)}`;
const uncertain = (button) => button.closest("[data-uncertain]");

function decide(decision) {
  return (button) => {
    const row = uncertain(button);
    const sid = row.querySelector('input[name="sid"]').value.trim();
    return post(`/api/messages/${row.dataset.uncertain}/resolve`, decision === "sent" ? { decision, sid } : { decision });
  };
}

const ACTIONS = {
  takeover: () => post(`${phonePath()}/takeover`),
  release: () => post(`${phonePath()}/release`),
  "opt-out": () => post(`${phonePath()}/opt-out`),
  forget: async () => { await post(`/console/conversations/${conversation.dataset.id}/forget`); location.assign(home); },
  export: () => download(`${home}conversations/${conversation.dataset.id}/export`),
  pause: () => post("/api/pause"),
  resume: () => post("/api/resume"),
  "resolve-sent": decide("sent"),
  "resolve-resend": decide("resend"),
  "resolve-cancel": decide("cancel"),
};

async function download(path) { location.assign(path); }

document.addEventListener("click", async (event) => {
  const button = event.target.closest("button[data-action]");
  const action = button && ACTIONS[button.dataset.action];
  if (!action) return;
  event.preventDefault();
  if (button.dataset.ask && !confirm(button.dataset.ask)) return;
  button.disabled = true;
  try { await action(button); await refresh(); } catch (error) { say(error.message); }
  button.disabled = false;
});

document.addEventListener("submit", async (event) => {
  const form = event.target;
  if (!form.dataset.send) return;
  event.preventDefault();
  const button = form.querySelector('[data-action="send"]');
  if (button.disabled) return;
  const area = form.elements.text;
  const body = area ? { text: area.value } : { content_sid: form.elements.content_sid.value, content_variables: variables(form) };
  const mark = area ? area.value : JSON.stringify(body);
  if (form.dataset.tried !== mark) { form.dataset.idempotency = newKey(); form.dataset.tried = mark; }
  button.disabled = true;
  try {
    await post(`${phonePath()}/messages`, body, { "Idempotency-Key": form.dataset.idempotency });
    delete form.dataset.tried;
    if (area && area.value === mark) { area.value = ""; fit(area); }
    sessionStorage.removeItem(draftKey);
    if (!area) { form.reset(); choose(form.elements.content_sid); }
    await refresh();
    const scroller = document.getElementById("scroll");
    scroller.scrollTop = scroller.scrollHeight;
  } catch (error) { say(error.message); }
  button.disabled = false;
  area?.focus();
});

function variables(form) {
  const given = {};
  for (const input of form.querySelectorAll('input[name^="var."]')) given[input.name.slice(4)] = input.value;
  return given;
}

function choose(select) {
  const form = select.form;
  const option = select.selectedOptions[0];
  const places = (option?.dataset.places ?? "").split(" ").filter(Boolean);
  const box = form.querySelector(".vars");
  const shown = form.querySelector(".template-text");
  box.replaceChildren(...places.map((place) => {
    const label = document.createElement("label");
    const input = document.createElement("input");
    label.textContent = `${box.dataset.label} ${place}`;
    Object.assign(input, { name: `var.${place}`, required: true, maxLength: 1000, value: place === "1" ? box.dataset.name : "" });
    label.append(input);
    return label;
  }));
  shown.hidden = !option?.dataset.text;
  preview(form);
}

function preview(form) {
  const given = variables(form);
  const text = form.elements.content_sid.selectedOptions[0]?.dataset.text ?? "";
  form.querySelector(".template-text").textContent = text.replace(/\{\{\s*(\w+)\s*\}\}/g, (whole, place) => given[place] || whole);
}

document.addEventListener("change", (event) => { if (event.target.name === "content_sid") choose(event.target); });
document.addEventListener("input", (event) => {
  if (event.target.name?.startsWith("var.")) preview(event.target.form);
});

document.addEventListener("click", async (event) => {
  const button = event.target.closest("button[data-load]");
  if (!button) return;
  button.disabled = true;
  try {
    const answer = await fetch(button.dataset.load, { cache: "no-store" });
    const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
    document.getElementById(button.dataset.into).replaceChildren(...document.importNode(fresh.body, true).childNodes);
  } catch (error) { say(error.message); }
  button.disabled = false;
});

for (const form of document.querySelectorAll("form.langs")) form.elements.next.value = location.pathname + location.search;
for (const form of document.querySelectorAll("form[data-logout]")) form.addEventListener("submit", () => sessionStorage.clear());

// ---- Events. A hidden page lets its connection go: browsers keep six to a server, over all their pages. ----

let events = null;
let hiding = 0;

function listen() {
  if (events || !meta("csrf-token")) return;
  events = new EventSource(`${base}/api/events`);
  let broken = false;
  events.onopen = () => { offline(false); if (broken) later(); broken = false; };
  events.onerror = () => {
    broken = true;
    // A closed stream does not come back by itself: the session may have ended, which the page's answer says.
    if (events?.readyState === EventSource.CLOSED) { events = null; refresh(); setTimeout(listen, 5000); }
  };
  for (const name of ["message", "status", "call", "handler"]) events.addEventListener(name, concerns);
}

function concerns(event) {
  if (!conversation) { later(); return; }
  try {
    const change = JSON.parse(event.data);
    if (String(change.conversation_id).endsWith(`_${conversation.dataset.id}`) || event.type === "handler") later();
  } catch { later(); }
}

document.addEventListener("visibilitychange", () => {
  clearTimeout(hiding);
  if (document.hidden) {
    hiding = setTimeout(() => { events?.close(); events = null; }, 30000);
  } else {
    if (!events) { listen(); later(); }
  }
});

if (document.querySelector("[data-live]")) {
  listen();
  const scroller = document.getElementById("scroll");
  if (scroller) scroller.scrollTop = scroller.scrollHeight;
  const area = document.querySelector('textarea[name="text"]');
  if (area && draft()) { area.value = draft(); fit(area); }
  const every = Number(document.querySelector("[data-poll]")?.dataset.poll ?? 60);
  setInterval(() => { if (!document.hidden) later(); }, every * 1000);
}
