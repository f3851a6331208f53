// Everything here works without it too, on pages of its own.
'use strict';

const plain = (event) => event.button === 0 && !event.ctrlKey && !event.metaKey && !event.shiftKey && !event.altKey;

// Going back shows what was asked then, not what was typed afterwards.
window.addEventListener('pageshow', (event) => {
  const [visit] = performance.getEntriesByType('navigation');
  if (!event.persisted && visit?.type !== 'back_forward') return;
  const box = document.getElementById('q');
  box.value = box.defaultValue;
});

// Only one video plays at a time. Media events do not bubble.
document.addEventListener('play', (event) => {
  for (const video of document.querySelectorAll('video')) {
    if (video !== event.target) video.pause();
  }
}, true);

// Browsers take the preview where they cannot decode the file: say so.
document.addEventListener('loadedmetadata', (event) => {
  const note = event.target.parentElement.querySelector('.preview-note');
  if (note) note.hidden = !isPreview(event.target);
}, true);

function isPreview(video) {
  return video.currentSrc.includes('/preview/');
}

// In place of the poster, its video.
function open(card) {
  const link = card.querySelector('.play');
  if (link) link.replaceWith(card.querySelector('template').content.cloneNode(true));
  return card.querySelector('video');
}

function playFrom(video, seconds) {
  const seek = () => {
    // A preview begins shortly before the moment that it was made for.
    const shift = isPreview(video) ? Number(video.dataset.start) - Number(video.dataset.lead) : 0;
    video.currentTime = Math.max(0, seconds - shift);
  };
  if (video.readyState >= 1) seek();
  else video.addEventListener('loadedmetadata', seek, { once: true });
  video.play().catch(() => {});
  video.focus();
}

// A picture shows when it is there; one that the busy server refused, or that
// got lost, is asked for again.
const PICTURE_TRIES = 4;
function show(event) {
  const image = event.target;
  if (!image.matches?.('.play img')) return;
  const tries = Number(image.dataset.tries ?? 1);
  if (event.type === 'error' && tries < PICTURE_TRIES) {
    image.dataset.tries = tries + 1;
    setTimeout(() => { image.src = image.getAttribute('src'); }, 1000 * 2 ** tries);
  } else image.classList.add('shown');
}
document.addEventListener('load', show, true);
document.addEventListener('error', show, true);
for (const image of document.querySelectorAll('.play img')) {
  if (image.complete) show({ target: image, type: image.naturalWidth ? 'load' : 'error' });
}

// The server is busy: come back when it said, not for ever.
const PAGE_TRIES = 5;
const again = document.querySelector('[data-retry]');
const tried = `tries ${location.href}`;
if (!again) sessionStorage.removeItem(tried);
else {
  const tries = Number(sessionStorage.getItem(tried) ?? 0);
  if (tries < PAGE_TRIES) {
    const seconds = Number(again.dataset.retry) * (1 + tries + Math.random());
    again.textContent = 'This page tries again by itself in a moment.';
    sessionStorage.setItem(tried, tries + 1);
    setTimeout(() => location.reload(), 1000 * seconds);
  } else sessionStorage.removeItem(tried);
}

async function ask(address, tries = 3) {
  const answer = await fetch(address);
  if (answer.status !== 503 || tries === 1) return answer;
  await new Promise((go) => setTimeout(go, 1000 * Number(answer.headers.get('retry-after') ?? 2)));
  return ask(address, tries - 1);
}

// Who once opens the numbers sees them from then on.
function openNumbers(part) {
  if (localStorage.getItem('experts') !== 'yes') return;
  for (const numbers of part.querySelectorAll('.experts')) numbers.open = true;
}
document.addEventListener('toggle', (event) => {
  if (event.target.matches?.('.experts')) localStorage.setItem('experts', event.target.open ? 'yes' : 'no');
}, true);
openNumbers(document);

async function showWhy(link) {
  const dialog = document.getElementById('why');
  const body = dialog.querySelector('.body');
  body.textContent = 'Looking at words and frames …';
  dialog.showModal();
  try {
    const answer = await ask(link.dataset.why);
    if (!answer.ok) throw new Error(answer.statusText);
    // Made and escaped by the server.
    body.innerHTML = await answer.text();
    openNumbers(body);
    // On a phone the best frame may be beside the screen.
    body.querySelector('.best')?.scrollIntoView({ block: 'nearest', inline: 'center' });
  } catch {
    dialog.close();
    location.href = link.href;
  }
}

// Further results behind those that are there, which stay as they are.
async function showMore(link) {
  link.setAttribute('aria-busy', 'true');
  link.textContent = 'Looking …';
  try {
    const answer = await ask(link.href);
    if (!answer.ok) throw new Error(answer.statusText);
    const page = new DOMParser().parseFromString(await answer.text(), 'text/html');
    const cards = [...page.querySelectorAll('.grid > .card')];
    document.querySelector('.grid').append(...cards);
    cards[0]?.querySelector('.play')?.focus();
    const [shown, now] = [document, page].map((of) => of.querySelector('[data-last]'));
    if (shown && now) shown.textContent = now.dataset.last;
    const next = page.querySelector('[data-more]');
    if (next) link.replaceWith(next);
    else link.remove();
  } catch {
    location.href = link.href;
  }
}

// Right or wrong; once more takes it back.
document.addEventListener('submit', async (event) => {
  if (!event.target.matches('[data-judge]')) return;
  event.preventDefault();
  const pressed = event.submitter.getAttribute('aria-pressed') === 'true';
  const address = pressed ? event.submitter.dataset.off : event.submitter.getAttribute('formaction');
  const answer = await fetch(address, { method: 'POST', redirect: 'manual' });
  if (answer.type !== 'opaqueredirect') return;
  for (const button of event.target.querySelectorAll('button')) {
    button.setAttribute('aria-pressed', String(button === event.submitter && !pressed));
  }
});

// How far indexing is, asked each second while it goes on.
const updates = document.querySelector('[data-updates]');
async function follow() {
  const [button, bar, said] = ['button', 'progress', 'output'].map((name) => updates.querySelector(name));
  let now = { is_running: true };
  while (now.is_running) {
    const answer = await fetch('/indexing');
    if (!answer.ok) return;
    now = await answer.json();
    bar.hidden = !now.is_running;
    bar.max = Math.max(1, now.total);
    bar.value = now.done;
    if (button) button.disabled = now.is_running;
    said.textContent = now.is_running ? `Indexing: ${now.done} of ${now.total} files` : now.message;
    if (now.is_running) await new Promise((go) => setTimeout(go, 1000));
  }
}
updates?.addEventListener('submit', async (event) => {
  event.preventDefault();
  updates.querySelector('button').disabled = true;
  const answer = await fetch(updates.action, { method: 'POST', redirect: 'manual' });
  if (answer.type === 'opaqueredirect') follow();
  else updates.submit();
});
if (updates?.querySelector('progress:not([hidden])')) follow();

document.addEventListener('click', (event) => {
  if (event.target.closest('dialog .close') || event.target.nodeName === 'DIALOG') {
    document.getElementById('why').close();
    return;
  }
  const link = event.target.closest('a');
  if (!link || !plain(event)) return;
  const card = link.closest('.card');
  if (link.matches('[data-play]')) {
    event.preventDefault();
    const video = open(card);
    playFrom(video, Number(video.dataset.from));
  } else if (link.matches('[data-seek]')) {
    event.preventDefault();
    playFrom(open(card), Number(link.dataset.seek));
  } else if (link.matches('[data-more]')) {
    event.preventDefault();
    if (!link.hasAttribute('aria-busy')) showMore(link);
  } else if (link.matches('[data-why]')) {
    event.preventDefault();
    showWhy(link);
  }
});

// With a modifier: bare characters get in the way of speech input and of
// screen readers (WCAG 2.1.4).
document.addEventListener('keydown', (event) => {
  if (event.key.toLowerCase() !== 'k' || !(event.ctrlKey || event.metaKey) || event.altKey || event.shiftKey) return;
  event.preventDefault();
  const box = document.getElementById('q');
  box.focus();
  box.select();
});
