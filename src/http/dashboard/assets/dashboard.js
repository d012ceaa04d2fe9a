// Updates pages live. Without it, pages show the state at the time they were loaded.
"use strict";

const liveState = document.getElementById("live-state");

function showLiveState(text) {
  if (liveState && liveState.textContent !== text) liveState.textContent = text;
}

// Replaces the element's content with new markup from the server and keeps the focus.
function replace(element, markup) {
  if (element.dataset.last === markup) return;
  const focused = element.contains(document.activeElement) ? document.activeElement.id : "";
  const parsed = new DOMParser().parseFromString(markup, "text/html");
  element.replaceChildren(...parsed.body.childNodes);
  element.dataset.last = markup;
  if (focused) document.getElementById(focused)?.focus();
}

async function fetchPage(path) {
  const response = await fetch(path, { headers: { accept: "text/html" } });
  if (!response.ok) throw new Error(`the server responded with status ${response.status}`);
  return response.text();
}

// Refreshes the list while the page is visible.
function refreshList(element) {
  const query = new URLSearchParams(location.search);
  query.set("part", "live");
  const interval = Number(element.dataset.refresh);
  const refresh = async () => {
    if (!document.hidden) {
      try {
        replace(element, await fetchPage(`/?${query}`));
        showLiveState("live");
      } catch {
        showLiveState("server not reachable, retrying");
      }
    }
    setTimeout(refresh, interval);
  };
  setTimeout(refresh, interval);
}

// Follows an execution's events from the end of the output on the page.
function followExecution(element) {
  const title = element.querySelector(".title");
  element.querySelectorAll("pre").forEach(scrollToEnd);
  if (!title?.dataset.events) return;
  const reload = async () => {
    try {
      replace(element, await fetchPage(`/executions/${title.dataset.id}?part`));
      followExecution(element);
    } catch {
      setTimeout(reload, 2000);
    }
  };
  const events = new EventSource(title.dataset.events);
  let status = null;
  events.onopen = () => showLiveState("live");
  events.onerror = () => showLiveState("server not reachable, retrying");
  events.addEventListener("output", (event) => append(JSON.parse(event.data)));
  events.addEventListener("status", (event) => {
    const progress = JSON.parse(event.data);
    if (progress.restarted) element.querySelectorAll("pre").forEach((pre) => (pre.textContent = ""));
    // The first event repeats the status that the page already shows.
    if (status !== null && status !== progress.status) showStatus(element, progress.status);
    status = progress.status;
    showNote(element, progress);
  });
  events.addEventListener("end", () => {
    events.close();
    showLiveState("");
    reload();
  });
}

function append({ stream, text }) {
  const pre = document.getElementById(`stream-${stream}`);
  if (!pre) return;
  document.getElementById(`section-${stream}`).hidden = false;
  const isAtEnd = pre.scrollHeight - pre.scrollTop - pre.clientHeight < 40;
  pre.append(document.createTextNode(text));
  if (isAtEnd) scrollToEnd(pre);
}

function scrollToEnd(pre) {
  pre.scrollTop = pre.scrollHeight;
}

function showStatus(element, status) {
  const badge = element.querySelector("#status .badge");
  badge.className = `badge ${status}`;
  badge.textContent = status;
}

function showNote(element, { waits_for, queue_position, phase }) {
  const phases = { environment: "installing requirements", sandbox: "starting the sandbox" };
  const position = queue_position ? `number ${queue_position} in the queue` : "";
  element.querySelector("#status .note").textContent = waits_for || position || phases[phase] || "";
}

// Sends the calls of buttons, with a header that pages of other sites cannot send.
document.addEventListener("click", async (event) => {
  const button = event.target.closest("button[data-post]");
  if (!button) return;
  button.disabled = true;
  const problem = document.getElementById("action-error");
  try {
    const response = await fetch(button.dataset.post, {
      method: "POST",
      headers: { "x-rgrid-dashboard": "1", "content-type": "application/json" },
    });
    const body = await response.json();
    if (!response.ok) throw new Error(body.detail);
    if (response.status === 201) location.assign(`/executions/${body.id}`);
  } catch (error) {
    button.disabled = false;
    problem.textContent = `The request failed: ${error.message}`;
    problem.hidden = false;
  }
});

const list = document.getElementById("live");
if (list) refreshList(list);
const execution = document.getElementById("execution");
if (execution) followExecution(execution);
