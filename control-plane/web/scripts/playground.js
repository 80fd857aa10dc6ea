// The playground: one call from this browser to the gateway. The key is kept in this tab's sessionStorage and sent to
// the gateway only.
"use strict";
const form = document.getElementById("playground");
const at = (id) => document.getElementById(id);
const SHOWN_HEADERS = ["content-type", "x-request-id", "ratelimit", "ratelimit-policy", "retry-after"];
const BODY_MAX_CHARS = 200000;
const TIMEOUT_MS = 60000;

/** The keys that this tab knows for this listing. */
function known() {
  try { return JSON.parse(sessionStorage.getItem(place())) ?? []; } catch { return []; }
}
function place() { return "apiclay.keys:/l/" + form.dataset.listing; }

function remember(key) {
  const others = known().filter((one) => one.key !== key);
  const name = known().find((one) => one.key === key)?.name ?? key.slice(0, 14) + "…";
  sessionStorage.setItem(place(), JSON.stringify([{ name, key }, ...others].slice(0, 10)));
}

function offerKeys() {
  const select = at("try-known");
  select.replaceChildren(...known().map((one) => new Option(one.name, one.key)), new Option("Another key", ""));
  select.hidden = known().length === 0;
  if (known().length > 0) at("try-key").value = known()[0].key;
}

/** The call's address, from the path's parameters and the query's. */
function address() {
  let path = form.dataset.path;
  const query = new URLSearchParams(at("try-query").value.trim());
  for (const field of form.querySelectorAll("[data-place]")) {
    const { place, name } = field.dataset;
    if (place === "path" && field.value !== "") {
      const rest = "rest" in field.dataset;
      const text = rest ? field.value.split("/").map(encodeURIComponent).join("/") : encodeURIComponent(field.value);
      path = path.replace(rest ? `{*${name}}` : `{${name}}`, () => text);
    } else if (place === "query" && field.value !== "") {
      query.set(name, field.value);
    }
  }
  const text = query.toString();
  return form.dataset.server + path + (text && "?" + text);
}

/** Method, headers and body, as fetch takes them. */
function call() {
  const headers = new Headers({ [form.dataset.keyHeader]: at("try-key").value.trim() });
  for (const field of form.querySelectorAll('[data-place="header"]')) {
    if (field.value !== "") headers.set(field.dataset.name, field.value);
  }
  const body = at("try-body");
  const sent = body && body.value !== "" && !["GET", "HEAD"].includes(form.dataset.method) ? body.value : undefined;
  if (sent !== undefined) headers.set("Content-Type", body.dataset.mediaType);
  for (const line of at("try-headers").value.split("\n").filter((line) => line.trim() !== "")) {
    const colon = line.indexOf(":");
    headers.set(line.slice(0, colon < 0 ? line.length : colon).trim(), colon < 0 ? "" : line.slice(colon + 1).trim());
  }
  return { method: form.dataset.method, headers, body: sent, credentials: "omit", cache: "no-store", signal: AbortSignal.timeout(TIMEOUT_MS) };
}

function pretty(text, kind) {
  if (/\bjson\b/.test(kind)) {
    try { return JSON.stringify(JSON.parse(text), null, 2); } catch { /* shown as it came */ }
  }
  return text;
}

function show(status, tone, time, headers, body) {
  at("try-answer").hidden = false;
  at("try-status").textContent = status;
  at("try-status").className = "status " + tone;
  at("try-time").textContent = time;
  at("try-answer-headers").replaceChildren(...headers.flatMap(([name, value]) => {
    const term = document.createElement("dt");
    const text = document.createElement("dd");
    term.textContent = name;
    text.textContent = value;
    return [term, text];
  }));
  const cut = body.length > BODY_MAX_CHARS ? body.slice(0, BODY_MAX_CHARS) + "\n… (the rest is not shown)" : body;
  at("try-answer-body").textContent = cut;
  at("try-answer-body").parentElement.hidden = cut === "";
}

/** Makes the call and shows its answer; says its status. */
async function send() {
  const began = performance.now();
  const answer = await fetch(address(), call());
  const text = await answer.text();
  const took = Math.round(performance.now() - began);
  const tone = answer.status < 400 ? "good" : answer.status < 500 ? "warn" : "bad";
  const headers = SHOWN_HEADERS.filter((name) => answer.headers.has(name)).map((name) => [name, answer.headers.get(name)]);
  const bytes = new TextEncoder().encode(text).length;
  show(`${answer.status} ${answer.statusText}`.trim(), tone, `${took} ms · ${bytes.toLocaleString("en")} bytes`, headers, pretty(text, answer.headers.get("content-type") ?? ""));
  return answer.status;
}

function why(error) {
  if (error instanceof TypeError && /header|ByteString|value/i.test(error.message)) return "A header has characters that headers cannot have.";
  if (error.name === "TimeoutError") return "The gateway did not answer within a minute.";
  return "The browser got no answer it may show. The gateway may be down, or it does not allow calls from this page.";
}

if (form) {
  form.hidden = false;
  offerKeys();
  const showAddress = () => { at("try-address").textContent = address(); };
  showAddress();
  form.addEventListener("input", showAddress);
  at("try-key").addEventListener("input", (event) => {
    at("try-known").value = known().find((one) => one.key === event.target.value.trim())?.key ?? "";
  });
  at("try-known").addEventListener("change", (event) => {
    at("try-key").value = event.target.value;
    if (event.target.value === "") at("try-key").focus();
  });
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const key = at("try-key").value.trim();
    const button = form.querySelector(".try-act button");
    button.disabled = true;
    button.textContent = "Sending…";
    try {
      if (await send() !== 401) remember(key);
    } catch (error) {
      show("No answer", "bad", "", [], why(error));
    } finally {
      button.disabled = false;
      button.textContent = "Send the call";
    }
  });
}
