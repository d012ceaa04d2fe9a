// Keeps a page up to date. Everything here is also there without it, as of when the page was loaded.
"use strict";

const liveState = document.getElementById("live-state");

function tellLive(words) {
  if (liveState && liveState.textContent !== words) liveState.textContent = words;
}

// Puts the server's markup in place of the old, and the focus back where it was.
function replace(element, markup) {
  if (element.dataset.last === markup) return;
  const focused = element.contains(document.activeElement) ? document.activeElement.id : "";
  const fresh = new DOMParser().parseFromString(markup, "text/html");
  element.replaceChildren(...fresh.body.childNodes);
  element.dataset.last = markup;
  if (focused) document.getElementById(focused)?.focus();
}

async function page(path) {
  const answer = await fetch(path, { headers: { accept: "text/html" } });
  if (!answer.ok) throw new Error(`the server says ${answer.status}`);
  return answer.text();
}

// The list: asked for again every few seconds, while somebody looks at it.
function keepList(element) {
  const query = new URLSearchParams(location.search);
  query.set("part", "live");
  const every = Number(element.dataset.refresh);
  const refresh = async () => {
    if (!document.hidden) {
      try {
        replace(element, await page(`/?${query}`));
        tellLive("live");
      } catch {
        tellLive("not reachable, trying again");
      }
    }
    setTimeout(refresh, every);
  };
  setTimeout(refresh, every);
}

// One execution: followed by its events, from where the page ends.
function keepExecution(element) {
  const title = element.querySelector(".title");
  element.querySelectorAll("pre").forEach(showEnd);
  if (!title?.dataset.events) return;
  const again = async () => {
    try {
      replace(element, await page(`/executions/${title.dataset.id}?part`));
      keepExecution(element);
    } catch {
      setTimeout(again, 2000);
    }
  };
  const events = new EventSource(title.dataset.events);
  let status = null;
  events.onopen = () => tellLive("live");
  events.onerror = () => tellLive("not reachable, trying again");
  events.addEventListener("output", (event) => append(JSON.parse(event.data)));
  events.addEventListener("status", (event) => {
    const told = JSON.parse(event.data);
    if (told.restarted) element.querySelectorAll("pre").forEach((pre) => (pre.textContent = ""));
    // The first one says what the page says already.
    if (status !== null && status !== told.status) note(element, told);
    status = told.status;
    place(element, told);
  });
  events.addEventListener("end", () => {
    events.close();
    tellLive("");
    again();
  });
}

function append({ stream, text }) {
  const pre = document.getElementById(`stream-${stream}`);
  if (!pre) return;
  document.getElementById(`section-${stream}`).hidden = false;
  const atEnd = pre.scrollHeight - pre.scrollTop - pre.clientHeight < 40;
  pre.append(document.createTextNode(text));
  if (atEnd) showEnd(pre);
}

function showEnd(pre) {
  pre.scrollTop = pre.scrollHeight;
}

function note(element, told) {
  const badge = element.querySelector("#status .badge");
  badge.className = `badge ${told.status}`;
  badge.textContent = told.status;
}

function place(element, told) {
  const words = { environment: "installing its requirements", sandbox: "getting its sandbox" };
  const where = told.waits_for ? told.waits_for : told.queue_position ? `number ${told.queue_position} in the queue` : words[told.phase] || "";
  element.querySelector("#status .note").textContent = where;
}

// Buttons that change something: with a header that no foreign page can send.
document.addEventListener("click", async (event) => {
  const button = event.target.closest("button[data-post]");
  if (!button) return;
  button.disabled = true;
  const problem = document.getElementById("action-error");
  try {
    const answer = await fetch(button.dataset.post, {
      method: "POST",
      headers: { "x-rgrid-dashboard": "1", "content-type": "application/json" },
    });
    const body = await answer.json();
    if (!answer.ok) throw new Error(body.detail);
    if (answer.status === 201) location.assign(`/executions/${body.id}`);
  } catch (error) {
    button.disabled = false;
    problem.textContent = `It did not work: ${error.message}`;
    problem.hidden = false;
  }
});

const list = document.getElementById("live");
if (list) keepList(list);
const execution = document.getElementById("execution");
if (execution) keepExecution(execution);
